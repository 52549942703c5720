"""Compliance: what is denied, what is not, and what can never make it fail."""

import inspect
import re
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.compliance.compliance import Compliance, ComplianceRulesError
from app.compliance.verdict import Verdict
from telemetry.labels import Decision
from tests.app.compliance.compliance_cases import DENIED, NEAR_MISSES
from tests.app.compliance.compliance_ordinary import ORDINARY

COMPLIANCE = Compliance.load()


@pytest.mark.parametrize(
    ("rule", "command"), [(rule, command) for rule, commands in DENIED.items() for command in commands]
)
def test_denied(rule: str, command: str) -> None:
    """A destructive command is denied by its rule, however it is written, with a reason."""
    verdict = COMPLIANCE.check(command)

    assert (Decision.DENIED, rule) == (verdict.decision, verdict.rule)
    assert verdict.reason


@pytest.mark.parametrize(
    "command", [command for commands in NEAR_MISSES.values() for command in commands] + list(ORDINARY)
)
def test_allowed(command: str) -> None:
    """A near miss of a rule, and an administrator's ordinary command, is allowed."""
    assert Verdict(Decision.ALLOWED, "none", "") == COMPLIANCE.check(command)


def test_naming_a_command_is_not_running_it() -> None:
    """A denied command that is only the argument of another one is allowed."""
    plain = [
        each for each in chain(*DENIED.values()) if re.fullmatch(r"[\w ./=:,+-]+", each) and len(each) < 100
    ]

    assert [each for each in plain if COMPLIANCE.check(f"echo {each}").decision is Decision.DENIED] == []
    assert len(plain) > 100


def test_every_rule_has_cases() -> None:
    """Every rule has commands that it denies, and near misses that it allows."""
    assert set(COMPLIANCE.rules) == set(DENIED) == set(NEAR_MISSES)


def test_the_table_of_ordinary_commands_is_broad() -> None:
    """The ordinary commands are many, and none stands twice."""
    assert len(ORDINARY) >= 60
    assert len(ORDINARY) == len(set(ORDINARY))


HOSTILE: dict[str, str] = {
    "parentheses": "(" * 20_000 + "ls" + ")" * 20_000,
    "substitutions": "$(" * 20_000 + "ls" + ")" * 20_000,
    "quoted substitutions": 'echo "$(' * 5_000 + "ls" + ')"' * 5_000,
    "backquotes": "`" * 65_000,
    "shells in shells": "eval " * 12_000 + "ls",
    "wrappers": "sudo " * 12_000 + "ls",
    "pipes": "ls|" * 20_000 + "ls",
    "shells in a pipeline": "bash|" * 900 + "ls",
    "unfinished pipelines": "a|&" * 20_000,
    "commands": "ls;" * 20_000,
    "and": "ls && " * 10_000 + "ls",
    "arrays": "x=(" * 20_000,
    "here-documents": "<<EOF\n" * 10_000,
    "carriage returns": "\\\r" * 30_000,
    "beyond the basic plane": "{\U00031860${\U000f0001=~" * 3_000,
    "braces": "echo " + "{a,b}" * 40,
    "doubling variables": "a=xxxxxxxxxx;" + "".join(f"v{i + 1}=$v{i}$v{i}$v{i}$v{i};" for i in range(30)),
    "doubling functions": "".join(f"f{i}() {{ f{i + 1}; f{i + 1}; }};" for i in reversed(range(40))) + "f0",
    "loops in loops": "".join(f"for v{i} in a b c d; do " for i in range(12))
    + "echo $v0$v1$v2$v3$v4$v5$v6$v7$v8$v9$v10$v11"
    + "; done" * 12,
    "variables": "echo " + "$x" * 30_000,
    "paths": "rm -rf " + "/etc/a$x* " * 6_000,
    "long variables": "v=" + "a" * 30_000 + "; echo " + "$v " * 10_000,
    "sequences": "echo " + "x{1..3}y" * 8_000,
    "one long choice": "echo " + "a" * 30_000 + "{" + "," * 30_000 + "}",
    "long braces": "echo " + "{a,b}" * 9 + "a" * 60_000,
    "firewall": "nft add rule " + "input " * 9_000,
    "options": "systemctl " + "-H " * 20_000 + "x",
    "calls with shifts": "f() { shift; shift; echo $1 $2 $3; }; " + "f a b c d e f; " * 300,
}


@pytest.mark.parametrize("command", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_commands_take_bounded_time(command: str) -> None:
    """A command made to be slow gets its answer within two seconds of processor time."""
    start = time.thread_time()

    verdict = COMPLIANCE.check(command)

    assert verdict.rule in {*COMPLIANCE.rules, "none"}
    assert time.thread_time() - start < 2


_FRAGMENTS = st.sampled_from(
    [
        *"/~{}[]()*;|&<>$`'\"\\\n",
        "rm",
        " -rf ",
        "$x",
        "${x:-",
        "$(",
        "<(",
        "[[ ",
        " ]]",
        "<<E\n",
        "$'",
        "{a,b}",
        "é",
    ]
) | st.sampled_from(
    ["bash -c ", "eval ", "sudo ", "x=", "x=(", "f() { ", "for x in ", "; do ", "; done", "case x in "]
)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=[]), max_size=60),
        st.lists(_FRAGMENTS, max_size=25).map("".join),
    )
)
def test_any_text_gets_a_verdict(command: str) -> None:
    """Any text gets a verdict of a known rule, never an exception."""
    verdict = COMPLIANCE.check(command)

    assert verdict.rule in ({*COMPLIANCE.rules} if verdict.decision is Decision.DENIED else {"none"})


def test_a_deep_stack_of_the_caller_gets_a_verdict() -> None:
    """A caller that has almost used up the stack gets a verdict, not an error."""

    def nested(levels: int) -> Verdict:
        return nested(levels - 1) if levels else COMPLIANCE.check("(" * 40 + "ls" + ")" * 40)

    limit = sys.getrecursionlimit()
    depth = len(inspect.stack(0))

    assert COMPLIANCE.check("(").rule == nested(limit - depth - 60).rule


def test_the_reason_is_the_rules_own() -> None:
    """A denial gives the reason that the rules file states."""
    reason = "It removes a directory that the system or its users cannot do without."

    assert Verdict(Decision.DENIED, "remove-root", reason) == COMPLIANCE.check("sudo rm -rf /")


def test_the_first_of_several_rules_is_named() -> None:
    """Where several rules deny a command, the one that stands first in the file is named."""
    assert COMPLIANCE.rules[0] == COMPLIANCE.check("reboot; rm -rf /").rule


RULE = "{id: no-x, reason: x is bad, match: [{name: [x]}]}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: [", "cannot be read"),
        ("", "has no list of rules"),
        ("rules: []", "has no list of rules"),
        ("rules: [x]", "rule 1: a rule has an id, a reason and match, and nothing else"),
        ("rules: [{id: none, reason: a, match: [{name: [x]}]}]", "rule 1: 'none' cannot be an id"),
        ("rules: [{id: no-x, reason: ' ', match: [{name: [x]}]}]", "rule no-x: the reason is missing"),
        ("rules: [{id: no-x, reason: a, match: {}}]", "rule no-x: match is a list of patterns"),
        ("rules: [{id: no-x, reason: a, match: [{}]}]", "rule no-x: a pattern is a mapping of conditions"),
        ("rules: [{id: no-x, reason: a, match: [{nam: [x]}]}]", "rule no-x: unknown condition nam"),
        ("rules: [{id: no-x, reason: a, match: [{name: x}]}]", "rule no-x: name is a list of texts, not 'x'"),
        ("rules: [{id: no-x, reason: a, match: [{name: [1]}]}]", "rule no-x: name holds something"),
        ("rules: [{id: no-x, reason: a, match: [{text: ['(']}]}]", "rule no-x: broken expression '('"),
        ("rules: [{id: no-x, reason: a, match: [{multiplies: 1}]}]", "rule no-x: multiplies is true"),
        ("rules: [{id: no-x, reason: a, match: [{runs: []}]}]", "rule no-x: a pattern is a mapping"),
        (f"rules: [{RULE}, {RULE}]", "rule no-x: the id is used twice"),
        (f"{{rules: [{RULE}], launchers: {{}}}}", "launchers is a list"),
        (f"{{rules: [{RULE}], launchers: [{{}}]}}", "launcher 1: a launcher is a mapping with names"),
        (f"{{rules: [{RULE}], launchers: [{{names: [a], x: 1}}]}}", "launcher 1: unknown key 'x'"),
        (f"{{rules: [{RULE}], launchers: [{{names: a}}]}}", "launcher 1: names is a list of texts"),
        (
            f"{{rules: [{RULE}], launchers: [{{names: [a], command: true}}]}}",
            "launcher 1: command cannot be True",
        ),
    ],
)
def test_a_broken_rules_file_is_a_clear_error(tmp_path: Path, text: str, problem: str) -> None:
    """A broken rules file is refused, naming the file, the rule and the problem."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)

    with pytest.raises(ComplianceRulesError) as error:
        Compliance.load(path)

    assert str(error.value).startswith(f"{path}: ")
    assert problem in str(error.value)


def test_a_missing_rules_file_is_a_clear_error(tmp_path: Path) -> None:
    """A rules file that does not exist is named."""
    with pytest.raises(ComplianceRulesError, match=r"rules\.yaml: cannot be read"):
        Compliance.load(tmp_path / "rules.yaml")


def test_rules_of_ones_own(tmp_path: Path) -> None:
    """A rules file of one's own replaces the packaged rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(f"rules: [{RULE}]")
    compliance = Compliance.load(path)

    assert (*["no-x"], "unparsable") == compliance.rules
    assert Verdict(Decision.DENIED, "no-x", "x is bad") == compliance.check("/opt/x y")
    assert Verdict(Decision.ALLOWED) == compliance.check("rm -rf /")
