"""What prometheus/ holds, as tests read it: rules, rule tests, runbooks, and copies to change."""

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.stack.programs import ProgramUnavailableError, program

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "prometheus"
RULES = CONFIGURATION / "rules"
RULE_TESTS = sorted((RULES / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGE = ROOT / "docs" / "prometheus.md"


@dataclass(frozen=True)
class Rule:
    """One rule. `place` is its group's and its own number in the file, `held` its `for`."""

    file: Path
    place: tuple[int, int]
    expr: str
    alert: str = ""
    record: str = ""
    held: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Return every rule."""
    return tuple(
        Rule(
            file,
            (group, rule),
            content["expr"],
            alert=content.get("alert", ""),
            record=content.get("record", ""),
            held=content.get("for", ""),
            labels=content.get("labels", {}),
            annotations=content.get("annotations", {}),
        )
        for file in sorted(RULES.glob("*.yml"))
        for group, each in enumerate(read(file)["groups"])
        for rule, content in enumerate(each["rules"])
    )


def alerts() -> list[Rule]:
    """Return every alerting rule."""
    return [rule for rule in rules() if rule.alert]


def read(path: Path) -> Any:
    """Return a YAML file's content."""
    return yaml.safe_load(path.read_text())


def fenced(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language in a Markdown page."""
    return [block.strip() for block in re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)]


def copy_of_configuration(folder: Path, token: str) -> Path:
    """Return a private copy of prometheus/ with the secrets that it refers to."""
    copy = folder / "prometheus"
    shutil.copytree(CONFIGURATION, copy)
    for place in (copy, copy / "snippets"):
        (place / "secrets").mkdir()
        (place / "secrets" / "aoss_metrics_token").write_text(token)
    return copy


def replace(path: Path, *changes: tuple[str, str]) -> None:
    """Change a file's text; a text that is not there fails."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{path.name} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the stack, and return how it ended; skip where it cannot be had."""
    return subprocess.run([found(name), *arguments], capture_output=True, text=True, check=False, timeout=100)


def found(name: str) -> Path:
    """Return a program's path; skip where it cannot be had."""
    try:
        return program(name)
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
