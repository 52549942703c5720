"""Judge commands by rules before they run: a guard rail against plain mistakes, not a sandbox."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import yaml

from app.compliance.compliance_patterns import Pattern, PatternError
from app.compliance.shell import Shell
from app.compliance.shell_command import TEXT_LIMIT, TooComplexError
from app.compliance.shell_grammar import UnparsableError
from app.compliance.shell_launchers import Launcher
from app.compliance.verdict import Verdict
from app.errors import AossError
from telemetry.labels import Decision

UNPARSABLE = "unparsable"

_RESERVED = frozenset({UNPARSABLE, "none"})
_PACKAGED = Path(__file__).with_name("compliance_rules.yaml")
_RULE_ID = re.compile(r"[a-z][a-z0-9-]{0,39}")
# A NUL cannot be part of a command, and what is no Unicode scalar value cannot be sent to a shell.
_NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")


class ComplianceRulesError(AossError):
    """Report a rules file that cannot be used, with the file, the rule and the problem."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to deny a command: any of its patterns."""

    id: str
    reason: str
    patterns: tuple[Pattern, ...]


class Compliance:
    """Deny commands that are plainly destructive, and those that cannot be judged.

    Every simple command anywhere in a command line is judged: in pipelines, subshells, loops, functions and
    substitutions, behind `sudo` and its kin, and in code given to another shell. Variables are followed where
    the command line itself sets them. A command whose name cannot be worked out (`$CMD`) is always denied, a
    recursive removal only where its target is the output of a command that cannot be told; `rm -rf "$dir"`
    with an unset variable removes nothing, and is allowed.

    It is a guard rail, not a sandbox: a program or a script can do whatever its user may.
    """

    def __init__(self, rules: tuple[Rule, ...], launchers: Mapping[str, Launcher]) -> None:
        self._rules = rules
        self._launchers = launchers
        self._by_name: dict[str, list[tuple[int, Pattern]]] = {}
        self._of_any_name: list[tuple[int, Pattern]] = []
        for at, rule in enumerate(rules):
            for pattern in rule.patterns:
                if pattern.name and not any(set("*?[") & set(name) for name in pattern.name):
                    for name in pattern.name:
                        self._by_name.setdefault(name, []).append((at, pattern))
                else:
                    self._of_any_name.append((at, pattern))

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the rules from a YAML file, by default the packaged one; raises ComplianceRulesError."""
        file = path or _PACKAGED
        try:
            data = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ComplianceRulesError(f"{file}: cannot be read: {error}") from error
        if not isinstance(data, Mapping) or not isinstance(data.get("rules"), list) or not data["rules"]:
            raise ComplianceRulesError(f"{file}: has no list of rules")
        rules = tuple(_rule(file, at, each) for at, each in enumerate(data["rules"], 1))
        seen: set[str] = set()
        for rule in rules:
            if rule.id in seen:
                raise ComplianceRulesError(f"{file}: rule {rule.id}: the id is used twice")
            seen.add(rule.id)
        return cls(rules, _launchers(file, data.get("launchers", [])))

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the ids of all rules that can deny a command."""
        return (*(rule.id for rule in self._rules), UNPARSABLE)

    def check(self, command: str) -> Verdict:
        """Judge a command; never raises."""
        if _NOT_TEXT.search(command) or len(command.encode()) > TEXT_LIMIT:
            return _unparsable(f"the command holds NUL or a surrogate, or more than {TEXT_LIMIT} bytes")
        # The shell removes a backslash before a line's end, but not in a comment or in single quotes, and
        # the grammar takes it for a blank: so both readings are judged.
        for text in dict.fromkeys((command, command.replace("\\\n", ""))):
            verdict = self._judge(text)
            if verdict.decision is Decision.DENIED:
                return verdict
        return Verdict(Decision.ALLOWED)

    def _judge(self, text: str) -> Verdict:
        shell = Shell(self._launchers)
        denying: set[int] = set()
        try:
            for command in shell.read(text):
                shell.check_time()
                patterns = (*self._by_name.get(command.name, ()), *self._of_any_name)
                denying |= {at for at, pattern in patterns if pattern.matches(command, shell.unknowns)}
        except UnparsableError:
            return _unparsable("the command, or a part of it that a shell would run, is not valid shell code")
        except (TooComplexError, RecursionError):
            return _unparsable("the command is too deeply nested, or too involved, to be judged")
        if not denying:
            return Verdict(Decision.ALLOWED)
        first = self._rules[min(denying)]
        return Verdict(Decision.DENIED, first.id, first.reason)


def _unparsable(reason: str) -> Verdict:
    return Verdict(Decision.DENIED, UNPARSABLE, reason)


def _rule(file: Path, at: int, data: object) -> Rule:
    label = f"{file}: rule {at}"
    if not isinstance(data, Mapping) or set(data) != {"id", "reason", "match"}:
        raise ComplianceRulesError(f"{label}: a rule has an id, a reason and match, and nothing else")
    identifier, reason, match = data["id"], data["reason"], data["match"]
    if not isinstance(identifier, str) or not _RULE_ID.fullmatch(identifier) or identifier in _RESERVED:
        raise ComplianceRulesError(f"{label}: {identifier!r} cannot be an id")
    if not isinstance(reason, str) or not reason.strip():
        raise ComplianceRulesError(f"{file}: rule {identifier}: the reason is missing")
    if not isinstance(match, list) or not match:
        raise ComplianceRulesError(f"{file}: rule {identifier}: match is a list of patterns")
    try:
        return Rule(identifier, reason.strip(), tuple(Pattern.from_data(each) for each in match))
    except PatternError as error:
        raise ComplianceRulesError(f"{file}: rule {identifier}: {error}") from error


def _launchers(file: Path, data: object) -> dict[str, Launcher]:
    found: dict[str, Launcher] = {}
    if not isinstance(data, list):
        raise ComplianceRulesError(f"{file}: launchers is a list")
    for at, each in enumerate(data, 1):
        launcher = _launcher(f"{file}: launcher {at}", each)
        found |= dict.fromkeys(launcher.names, launcher)
    return found


def _launcher(label: str, data: object) -> Launcher:
    if not isinstance(data, Mapping) or "names" not in data:
        raise ComplianceRulesError(f"{label}: a launcher is a mapping with names")
    # Without a string form of annotations, a field's type is the type itself or its generic alias.
    types = {field.name: field.type for field in fields(Launcher)}
    arguments: dict[str, Any] = {}
    for key, value in data.items():
        expected = types.get(key)
        if expected is None:
            raise ComplianceRulesError(f"{label}: unknown key {key!r}")
        if expected == frozenset[str]:
            if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
                raise ComplianceRulesError(f"{label}: {key} is a list of texts, not {value!r}")
            arguments[key] = frozenset(value)
        elif type(value) is (int if key == "command" else expected):
            arguments[key] = value
        else:
            raise ComplianceRulesError(f"{label}: {key} cannot be {value!r}")
    return Launcher(**arguments)
