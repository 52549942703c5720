"""Which program stands in for another, and which package holds it: the data of remedies.yaml."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any

import yaml

from app.planners.command_text import Call, calls, rewrite

REMEDIES = Path(__file__).with_name("remedies.yaml")


class RemedyFileError(Exception):
    """Report a remedy file that cannot be used: which file, which entry, what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Substitute:
    """A command that does what a program does with arguments of one form."""

    arguments: re.Pattern[str]
    command: str
    changes: bool

    def apply(self, arguments: str) -> str | None:
        """Return the command for these arguments; None where they have another form."""
        found = self.arguments.fullmatch(arguments)
        return self.command.format(**found.groupdict(default="")).strip() if found else None


@dataclass(frozen=True, slots=True)
class RemedyData:
    """Substitutes by program, for absent programs and for plain users, and packages by program."""

    alternatives: Mapping[str, tuple[Substitute, ...]]
    unprivileged: Mapping[str, tuple[Substitute, ...]]
    packages: Mapping[str, str]


@cache
def remedy_data() -> RemedyData:
    """Return the built-in data, read once."""
    return load_remedies(REMEDIES)


def load_remedies(path: Path) -> RemedyData:
    """Return the data of a remedy file. Raises RemedyFileError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RemedyFileError(f"{path.name} cannot be read: {error}") from error
    sections = {"alternatives", "unprivileged", "packages"}
    if not isinstance(content, dict) or set(content) != sections:
        raise RemedyFileError(f"{path.name}: expected the keys {', '.join(sorted(sections))}")
    for section in sections:
        if not isinstance(content[section], dict):
            raise RemedyFileError(f"{path.name}: {section} must map programs")
    for program, package in content["packages"].items():
        # The name becomes part of a command that root runs.
        if not isinstance(package, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", package):
            raise RemedyFileError(f"{path.name}: packages: {program}: {package!r} is no package name")
    return RemedyData(
        alternatives=_substitutes(content["alternatives"], f"{path.name}: alternatives"),
        unprivileged=_substitutes(content["unprivileged"], f"{path.name}: unprivileged"),
        packages=content["packages"],
    )


def _substitutes(content: dict[Any, Any], where: str) -> dict[str, tuple[Substitute, ...]]:
    for program, entries in content.items():
        if not isinstance(entries, list) or not entries:
            raise RemedyFileError(f"{where}: {program}: expected a list with at least one entry")
    return {
        str(program): tuple(_substitute(entry, f"{where}: {program}") for entry in entries)
        for program, entries in content.items()
    }


def _substitute(entry: object, where: str) -> Substitute:
    if not isinstance(entry, dict) or set(entry) - {"changes"} != {"arguments", "command"}:
        raise RemedyFileError(f"{where}: expected the keys arguments and command, and perhaps changes")
    arguments, command, changes = entry["arguments"], entry["command"], entry.get("changes", False)
    if not isinstance(arguments, str) or not isinstance(command, str) or not isinstance(changes, bool):
        raise RemedyFileError(f"{where}: arguments and command are texts, changes is true or false")
    try:
        pattern = re.compile(arguments)
        fields = {field for _, field, _, _ in Formatter().parse(command) if field is not None}
    except (re.error, ValueError) as error:
        raise RemedyFileError(f"{where}: {error}") from error
    if not fields <= set(pattern.groupindex):
        raise RemedyFileError(f"{where}: the command uses a group that arguments does not name")
    return Substitute(pattern, command, changes)


def substituted(
    command: str, program: str, table: Mapping[str, tuple[Substitute, ...]]
) -> Iterator[tuple[str, bool]]:
    """Yield commands in which every call of a program is replaced, best first, and whether each changes."""
    known = table.get(_base_name(program), ())
    arguments = [call.arguments for call in calls(command) if call.program == program]
    options = [[each for each in known if each.apply(text) is not None] for text in arguments]
    if not options or not all(options):
        return
    for rank in range(max(len(each) for each in options)):
        chosen = {text: each[min(rank, len(each) - 1)] for text, each in zip(arguments, options, strict=True)}

        def replace(call: Call, chosen: dict[str, Substitute] = chosen) -> str | None:
            return chosen[call.arguments].apply(call.arguments)

        if changed := rewrite(command, program, replace):
            yield changed, any(each.changes for each in chosen.values())


def package_of(program: str) -> str | None:
    """Return the package that holds a program; None where it is not known."""
    return remedy_data().packages.get(_base_name(program))


def _base_name(program: str) -> str:
    path = PurePosixPath(program)
    return path.name if path.is_absolute() and path.parent.name in {"bin", "sbin"} else program
