"""The real Docker Compose reads docker-compose.yml, with every profile and what docs/deployment.md adds."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.compose.definition import ROOT, services
from tests.support.stack.programs import ProgramUnavailableError, program

DOCUMENT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def compose(
    folder: Path, *arguments: str, values: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose without a daemon; `values` is its environment."""
    try:
        binary = program("docker-compose")
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
    return subprocess.run(
        [binary, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | dict(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def rendered(values: Mapping[str, str], *files: str) -> dict[str, Any]:
    """Return the services as Compose resolves them."""
    arguments = [part for file in ("docker-compose.yml", *files) for part in ("--file", file)]
    # Not the .env that somebody may have here.
    arguments.append("--env-file=/dev/null")
    result = compose(ROOT, *arguments, "config", "--format=json", values=values)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)["services"]
    return found


def dotenv(text: str) -> dict[str, str]:
    """Return the variables of a .env file."""
    return dict(line.split("=", 1) for line in text.split())


@pytest.mark.parametrize("chosen", ["", "collector", "postgres", "collector,postgres"])
def test_profiles(chosen: str) -> None:
    """Compose accepts the file with every choice of profiles, which adds their services."""
    profiles = set(filter(None, chosen.split(",")))
    expected = {
        name for name, each in services().items() if not each.profiles or set(each.profiles) & profiles
    }
    assert expected == set(rendered({"COMPOSE_PROFILES": chosen}))


def test_read_alike() -> None:
    """The tests of this folder read the same variables, commands, ports and mounts as Compose."""
    for name, shown in rendered({"COMPOSE_PROFILES": "collector,postgres"}).items():
        own = services()[name]
        assert own.environment() == shown.get("environment", {})
        assert own.command == (shown.get("command") or [])
        assert [port[2] for port in own.ports] == [str(port["target"]) for port in shown.get("ports", [])]
        assert [mount.target for mount in own.mounts] == [
            mount["target"] for mount in shown.get("volumes", [])
        ]
        assert sorted(own.secrets) == sorted(
            secret["target"] if secret["target"].startswith("/") else f"/run/secrets/{secret['target']}"
            for secret in shown.get("secrets", [])
        )


@pytest.mark.parametrize("text", blocks("ini"))
def test_choices_of_the_page(text: str) -> None:
    """Each .env of the page switches its service on, and the backend to it."""
    values = dotenv(text)
    profile = values.pop("COMPOSE_PROFILES")
    shown = rendered(values | {"COMPOSE_PROFILES": profile})
    assert {"collector": "otel-collector", "postgres": "postgres"}[profile] in shown
    assert values.items() <= shown["backend"]["environment"].items()
    assert values


def test_override_of_the_page(tmp_path: Path) -> None:
    """The page's override is taken over by Compose, and leaves the rest as it is."""
    (text,) = blocks("yaml")
    (tmp_path / "override.yml").write_text(text)
    before, after = rendered({}), rendered({}, str(tmp_path / "override.yml"))
    assert after["backend"]["environment"]["AOSS_WORKERS"] == "4"
    assert before["backend"]["environment"].keys() == after["backend"]["environment"].keys()
    assert before["prometheus"] == after["prometheus"]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("  a: {image: x, comand: y}", "comand"),
        ("  a: {image: x, networks: [nowhere]}", "undefined network nowhere"),
        ("  a: {image: x, secrets: [none]}", "undefined secret none"),
        ("  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}", "cycle"),
    ],
)
def test_mistakes_are_found(tmp_path: Path, wrong: str, complaint: str) -> None:
    """Compose refuses an unknown key, a name that nothing declares, and a circle of dependencies."""
    (tmp_path / "docker-compose.yml").write_text(f"services:\n{wrong}\n")
    result = compose(tmp_path, "config", "--quiet")
    assert result.returncode != 0
    assert complaint in result.stderr


def test_dockerfile() -> None:
    """hadolint has nothing to say of the Dockerfile."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
