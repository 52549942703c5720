"""The rules and configurations as promtool and amtool see them, and what they promise to their readers."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest

from tests.prometheus.files import (
    CONFIGURATION,
    PAGE,
    RULE_TESTS,
    RULES,
    RUNBOOKS,
    Rule,
    alerts,
    copy_of_configuration,
    read,
    replace,
    rules,
    run,
)


@functools.cache
def cases() -> list[dict[str, Any]]:
    """Return every case of the rule tests."""
    return [case for file in RULE_TESTS for case in read(file)["tests"]]


KINDS = ("fires", "just below", "missing data", "counter reset")


@pytest.mark.parametrize(
    "name", ["prometheus.yml", "snippets/existing-prometheus.yml", "snippets/backend-on-host.yml"]
)
def test_promtool_accepts_the_configuration(tmp_path: Path, name: str) -> None:
    """Each configuration passes promtool with every lint, its secrets' files beside it."""
    copy = copy_of_configuration(tmp_path, "a token")
    result = run("promtool", "check", "config", "--lint=all", "--lint-fatal", copy / name)
    assert (result.returncode, result.stderr) == (0, "")


def test_promtool_misses_a_secret(tmp_path: Path) -> None:
    """The check is of the files referred to as well: without the token's file it fails."""
    copy = copy_of_configuration(tmp_path, "a token")
    (copy / "secrets" / "aoss_metrics_token").unlink()
    result = run("promtool", "check", "config", copy / "prometheus.yml")
    assert result.returncode == 1
    assert "secrets/aoss_metrics_token" in result.stderr


def test_promtool_accepts_the_rules() -> None:
    """Every rule passes every lint, and promtool finds as many as this suite reads."""
    files = sorted(RULES.glob("*.yml"))
    result = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(rules()) == sum(int(number) for number in re.findall(r"(\d+) rules found", result.stdout))


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_rule_tests_pass(file: Path) -> None:
    """The rules do what their tests say."""
    result = run("promtool", "test", "rules", file)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_healthy_hour_would_notice(tmp_path: Path) -> None:
    """The healthy hour is not silent by itself: with the backend down for three minutes of it, it fails."""
    copy = copy_of_configuration(tmp_path, "a token")
    healthy = copy / "rules" / "tests" / "healthy.yml"
    replace(healthy, ("values: 1x159 0x1 1x80", "values: 1x159 0x12 1x69"))
    result = run("promtool", "test", "rules", healthy)
    assert result.returncode == 1
    assert 'alertname="AossBackendDown"' in result.stderr


@pytest.mark.parametrize("alert", sorted({rule.alert for rule in alerts()}))
def test_alert_has_its_cases(alert: str) -> None:
    """Each alert is tested to fire, to stay silent just below, without data, and through a counter reset.

    A case is named "Alert: kind, what", and a case that is named so tests that alert.
    """
    kinds = set()
    for case in cases():
        name, colon, what = case["name"].partition(": ")
        if colon and name == alert:
            checks = [check for check in case["alert_rule_test"] if check["alertname"] == alert]
            assert checks, case["name"]
            kinds |= {kind for kind in KINDS if what.startswith(kind) or f"; {kind}" in what}
            if what.startswith("fires"):
                assert any(check.get("exp_alerts") for check in checks), case["name"]
    assert set(KINDS) == kinds


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule.alert}-{rule.place}")
def test_alert_is_complete(rule: Rule) -> None:
    """Each alert has a severity, a summary and a description, and a runbook that exists."""
    assert rule.labels["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook_url"} == set(rule.annotations)
    assert "{{ $externalURL }}/consoles/" + rule.alert + ".md" == rule.annotations["runbook_url"]
    assert (RUNBOOKS / f"{rule.alert}.md").is_file()


def test_every_runbook_has_an_alert() -> None:
    """No runbook is left over, and each names its alert and severity in its title."""
    severities = {rule.alert: rule.labels["severity"] for rule in alerts()}
    assert sorted(severities) == sorted(path.stem for path in RUNBOOKS.glob("*.md"))
    for path in RUNBOOKS.glob("*.md"):
        assert f"# {path.stem} ({severities[path.stem]})" == path.read_text().splitlines()[0]


def test_no_burn_rate_is_out_of_reach() -> None:
    """A burn rate times the allowance is below 1, else its alert could never fire."""
    objectives = {
        rule.record: float(match[1])
        for rule in rules()
        if rule.record.endswith("_objective:ratio") and (match := re.fullmatch(r"vector\((.+)\)", rule.expr))
    }
    assert len(objectives) == 2
    burns = [
        (float(factor), objectives[name])
        for rule in alerts()
        for factor, name in re.findall(r"> ([\d.]+) \* \(1 - scalar\((.+?)\)\)", rule.expr)
    ]
    assert len(burns) == 14
    assert [(factor, objective) for factor, objective in burns if factor * (1 - objective) >= 1] == []


def test_objectives_stand_once() -> None:
    """No rule but the two that record them names an objective as a number."""
    others = [rule for rule in rules() if not rule.record.startswith("aoss:")]
    assert [rule.expr for rule in others if re.search(r"\b0?\.(95|05|90?|1)\b", rule.expr)] == []


def test_the_page_lists_the_alerts() -> None:
    """docs/prometheus.md has each alert with its severity, in the order of the files."""
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    listed = list(dict.fromkeys((rule.alert, rule.alert, rule.labels["severity"]) for rule in alerts()))
    assert sorted(listed) == sorted(rows)


def test_the_page_lists_the_recorded_names() -> None:
    """docs/prometheus.md has each recorded name with all its windows."""
    table = PAGE.read_text().partition("## Recorded")[2].partition("## With")[0]
    listed = {
        f"{name}{window if window != '-' else ''}"
        for name, windows in re.findall(r"^\| `([\w:]+)` \| ([\w, -]+) \|", table, re.MULTILINE)
        for window in windows.split(", ")
    }
    assert {rule.record for rule in rules() if rule.record} == listed


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    """Alertmanager's own check passes, and finds the receiver and every inhibition."""
    result = run("amtool", "check-config", CONFIGURATION / "alertmanager.yml")
    assert (result.returncode, result.stderr) == (0, "")
    inhibitions = len(read(CONFIGURATION / "alertmanager.yml")["inhibit_rules"])
    assert f" - {inhibitions} inhibit rules\n - 1 receivers\n" in result.stdout


def test_inhibitions_name_alerts_that_exist() -> None:
    """Each matcher of an inhibition on alertname matches an alert: a typo would inhibit nothing."""
    names = {rule.alert for rule in alerts()}
    matchers = [
        matcher
        for inhibition in read(CONFIGURATION / "alertmanager.yml")["inhibit_rules"]
        for matcher in inhibition["source_matchers"] + inhibition["target_matchers"]
    ]
    patterns = [re.fullmatch(r'alertname(?:=|=~|!=|!~)"(.+)"', matcher) for matcher in matchers]
    assert matchers
    assert [
        matcher
        for matcher, pattern in zip(matchers, patterns, strict=True)
        if pattern is None or not any(re.fullmatch(pattern[1], name) for name in names)
    ] == []


@pytest.mark.parametrize(("severity", "is_ticket"), [("page", False), ("ticket", True)])
def test_alerts_are_routed_by_severity(severity: str, *, is_ticket: bool) -> None:
    """Tickets take the route of their own, pages the default one."""
    path = CONFIGURATION / "alertmanager.yml"
    result = run(
        "amtool", "config", "routes", "test", f"--config.file={path}", "--tree", f"severity={severity}"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert is_ticket == ('{severity="ticket"}' in result.stdout)
