"""`make secrets`: which files it makes, for whom they are readable, and that it changes nothing."""

import os
import shutil
import stat
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.compose.definition import ROOT, definition


def make(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a folder of its own."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "secrets/make", folder / "make")
    return subprocess.run(
        ["sh", str(folder / "make")],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def contents(folder: Path) -> dict[str, str]:
    """Return the secrets by name."""
    return {
        path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name != "make"
    }


def test_target() -> None:
    """`make secrets` runs the script."""
    # Under `make test`, a make of its own would say which folder it enters.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(
        ["make", "-n", "secrets"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert shown.stdout == "sh secrets/make\n"


def test_files(tmp_path: Path) -> None:
    """It makes every file that docker-compose.yml mounts, each random one different."""
    make(tmp_path / "secrets")
    made = contents(tmp_path / "secrets")
    assert {Path(secret["file"]).name for secret in definition()["secrets"].values()} == set(made)
    random = [
        value for name, value in made.items() if name not in {"aoss_database_url", "alertmanager_webhook_url"}
    ]
    assert len(set(random)) == len(random) == 6
    assert all(len(value.strip()) >= 64 for value in random)
    assert (tmp_path / "secrets/ssh").is_dir()


def test_modes(tmp_path: Path) -> None:
    """Every container's user may read the files; on the host only the folder's owner gets to them."""
    make(tmp_path / "secrets")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert modes.pop("ssh") == 0o755
    modes.pop("make")
    assert {0o444} == set(modes.values())


def test_keeps_what_exists(tmp_path: Path) -> None:
    """A second run changes nothing, and a file that somebody has put there stays as it is."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "aoss_api_key").write_text("mine\n")
    make(folder)
    first = contents(folder)
    assert first["aoss_api_key"] == "mine\n"
    assert make(folder).stdout == ""
    assert first == contents(folder)


def test_derived(tmp_path: Path) -> None:
    """What is derived holds the secret from which it is, in the form that its reader wants."""
    folder = tmp_path / "secrets"
    make(folder)
    made = contents(folder)
    headers = dict(pair.split("=", 1) for pair in made["collector_headers"].strip().split(","))
    assert {"Authorization": f"Bearer {made['collector_token'].strip()}"} == {
        key: unquote(value) for key, value in headers.items()
    }
    assert f":{made['postgres_password'].strip()}@" in made["aoss_database_url"]


def test_webhook(tmp_path: Path) -> None:
    """The webhook's address is taken from the environment; without one, a warning says what is missing."""
    given = make(tmp_path / "given", ALERTMANAGER_WEBHOOK_URL="https://hooks.example.com/a?b=c")
    assert contents(tmp_path / "given")["alertmanager_webhook_url"] == "https://hooks.example.com/a?b=c\n"
    assert given.stderr == ""
    assert "alertmanager_webhook_url" in make(tmp_path / "missing").stderr


@pytest.mark.parametrize("name", ["aoss_api_key", "ssh/id_ed25519", "anything.bak"])
def test_git_ignores_secrets(name: str) -> None:
    """No secret can be committed by mistake."""
    ignored = subprocess.run(["git", "check-ignore", "-q", f"secrets/{name}"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


@pytest.mark.parametrize("name", ["make", ".gitignore"])
def test_git_keeps_the_script(name: str) -> None:
    """What makes the secrets is in the repository."""
    ignored = subprocess.run(["git", "check-ignore", "-q", f"secrets/{name}"], cwd=ROOT, check=False)
    assert ignored.returncode == 1
