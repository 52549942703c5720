"""The rule tests can fail: one does when a threshold, operator, matcher or `for` of an alert is changed."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.prometheus.files import RULE_TESTS, RULES, Rule, alerts, copy_of_configuration, found, read, run

COMPARISON = re.compile(r"((>=|==|>|<) ([\d.]+)(?![\d.]))")
SET_OPERATORS = {"and": "unless", "unless": "and", "or": "and"}


def mutants(rule: Rule) -> Iterator[tuple[str, str]]:
    """Give what can be changed in a rule's expression, and the expression with that changed.

    The same threshold in several places, as the two windows of a burn rate have it, is changed in all.
    """
    for comparison, operator, number in dict.fromkeys(COMPARISON.findall(rule.expr)):
        if operator == "==":
            changed = [f"== {float(number) + 7:g}", f"!= {float(number) + 7:g}"]
        elif float(number) == 0:
            changed = ["> 1000000", ">= 0"]
        else:
            changed = [f"{operator} {float(number) * 1.5:g}", f"{operator} {float(number) * 0.8:g}"]
        for text in changed:
            yield f"{comparison} -> {text}", rule.expr.replace(comparison, text)
    for match in re.finditer(r"\b(and|or|unless)\b(?= on|\s*increase)", rule.expr):
        text = SET_OPERATORS[match[1]]
        yield f"{match[1]} -> {text}", rule.expr[: match.start()] + text + rule.expr[match.end() :]
    for match in re.finditer(r'(?<=\w)(!?)="', rule.expr):
        text = '="' if match[1] else '!="'
        yield f"{match[0]} -> {text}", rule.expr[: match.start()] + text + rule.expr[match.end() :]
    if rule.expr.startswith("absent("):
        yield "absent dropped", rule.expr.removeprefix("absent")


def keep_what_is_read(recording: Path, alert: str) -> None:
    """Drop the recording rules that an alert does not depend on, which makes its rule tests quick."""
    content = read(recording)
    read_by = " ".join(rule.expr for rule in alerts() if rule.alert == alert)
    for group in reversed(content["groups"]):
        kept: list[dict[str, str]] = []
        for rule in reversed(group["rules"]):
            if re.search(rf"(?<![\w:]){re.escape(rule['record'])}(?![\w:])", read_by):
                kept.insert(0, rule)
                read_by += " " + rule["expr"]
        group["rules"] = kept
    recording.write_text(yaml.safe_dump(content))


def survivors(rule: Rule, folder: Path) -> list[str]:
    """Return the changes of a rule that no rule test notices."""
    copy = copy_of_configuration(folder, "a token")
    keep_what_is_read(copy / "rules" / "recording.yml", rule.alert)
    tests = [
        copy / "rules" / "tests" / file.name
        for file in RULE_TESTS
        if any(case["name"].startswith(f"{rule.alert}: ") for case in read(file)["tests"])
    ]
    file = copy / "rules" / rule.file.name
    group, number = rule.place

    def is_noticed(**changes: str | None) -> bool:
        content = read(RULES / rule.file.name)
        content["groups"][group]["rules"][number] |= changes
        file.write_text(yaml.safe_dump(content))
        return run("promtool", "test", "rules", f"--run=^{rule.alert}: ", *tests).returncode != 0

    if is_noticed():
        return ["fails without any change"]
    kept = [what for what, expr in mutants(rule) if not is_noticed(expr=expr)]
    if rule.held and not is_noticed(**{"for": None}):
        kept.append("for dropped")
    return kept


@pytest.mark.timeout(400)
def test_every_change_of_an_alert_is_noticed(tmp_path: Path) -> None:
    """Of every alert, each such change makes one of its rule tests fail, and none does without."""
    found("promtool")
    rules = alerts()
    assert all(list(mutants(rule)) for rule in rules)
    with ThreadPoolExecutor(2) as pool:
        left = pool.map(survivors, rules, [tmp_path / str(number) for number in range(len(rules))])
    found_out = {f"{rule.alert} {rule.place}": kept for rule, kept in zip(rules, left, strict=True) if kept}
    assert found_out == {}
