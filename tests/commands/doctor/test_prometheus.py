"""The section prometheus, against real ones with each of its failures."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.doctor.findings import Verdict
from app.doctor.prometheus import CHECKS, GROUPS, JOB, examine_prometheus
from app.doctor.web import Web
from tests.commands.doctor.conftest import Stack, prometheus_with, the, verdicts
from tests.support.backend import BackendProcess, wait_for
from tests.support.stack.prometheus import PrometheusServer

PROMETHEUS = Path(__file__).parents[3] / "prometheus"
AT_ONCE = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
NEVER = "100d"
# Two series on one side and nothing to tell them apart.
FAILS = 'label_replace(vector(1), "a", "1", "", "") or label_replace(vector(1), "a", "2", "", "")'
BROKEN = {
    "groups": [
        {"name": "aoss-success", "rules": [{"record": "broken", "expr": f"({FAILS}) * on () vector(1)"}]}
    ]
}


def test_names_are_those_of_the_files() -> None:
    """The job and the groups that are looked for are those in prometheus/."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert JOB in [each["job_name"] for each in config["scrape_configs"]]
    files = [yaml.safe_load(path.read_text()) for path in PROMETHEUS.glob("rules/*.yml")]
    assert {group["name"] for file in files for group in file["groups"]} == set(GROUPS)


def test_nobody_listens(web: Web, nobody: str) -> None:
    """A Prometheus that is down is a failure, and the rest is skipped."""
    found = verdicts(examine_prometheus(web, nobody))
    assert found == {f"prometheus.{check}": "skipped" for check in CHECKS} | {"prometheus.answers": "fail"}


def test_another_server(web: Web, plain_backend: BackendProcess) -> None:
    """The backend's address in place of that of Prometheus is told."""
    findings = examine_prometheus(web, plain_backend.url)
    assert "is no Prometheus" in the(findings, "prometheus.answers").reason
    assert verdicts(findings)["prometheus.target"] == "skipped"


def test_an_empty_configuration(web: Web, tmp_path: Path) -> None:
    """Without the job, the rules and an Alertmanager, each is named with the file that has it."""
    with prometheus_with(tmp_path, {}) as server:
        findings = examine_prometheus(web, server.url)
    assert verdicts(findings) == {
        "prometheus.answers": "ok",
        "prometheus.target": "fail",
        "prometheus.rules": "fail",
        "prometheus.data": "fail",
        "prometheus.alertmanager": "warn",
    }
    assert "existing-prometheus.yml" in the(findings, "prometheus.target").remedy
    assert all(group in the(findings, "prometheus.rules").reason for group in GROUPS)
    named = re.findall(r"prometheus/\S+\.yml", " ".join(each.remedy for each in findings))
    assert [name for name in named if not list(PROMETHEUS.parent.glob(name))] == []


@pytest.fixture(scope="module")
def failing(
    stack: Stack, nobody_at_all: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """Run a Prometheus that reaches no backend and has a rule that fails."""
    folder = tmp_path_factory.mktemp("failing")
    (folder / "rules.json").write_text(yaml.safe_dump(BROKEN))
    down = [f"127.0.0.1:{nobody_at_all}", f"127.0.0.1:{stack.backend.port}", "nowhere.invalid:1"]
    job = {
        "job_name": JOB,
        "authorization": {"credentials": "wrong"},
        "static_configs": [{"targets": down}],
    }
    later = {
        "job_name": "later",
        "scrape_interval": NEVER,
        "static_configs": [{"targets": ["127.0.0.1:2"], "labels": {"job": JOB}}],
    }
    config = {"global": AT_ONCE, "scrape_configs": [job, later], "rule_files": ["rules.json"]}
    with prometheus_with(folder, config) as server:
        expected = ["down"] * 3 + ["unknown"]
        wait_for(lambda: sorted(each["health"] for each in server.targets().get(JOB, [])) == expected, 60)
        wait_for(lambda: [each["health"] for each in server.rules()] == ["err"], 30)
        yield server


@pytest.fixture(scope="module")
def nobody_at_all() -> int:
    """Return a port that needs privileges and that nobody uses."""
    return 1


def test_targets_that_are_down(web: Web, failing: PrometheusServer) -> None:
    """Each target that is down is shown with its last error and what that error means."""
    targets = [each for each in examine_prometheus(web, failing.url) if each.check == "target"]
    findings = [each for each in targets if each.verdict is Verdict.FAIL]
    assert len(findings) == 3
    told = {
        word: each.remedy
        for each in findings
        for word in ("connection refused", "401 Unauthorized", "nowhere.invalid")
        if word in each.reason
    }
    assert "listens" in told["connection refused"]
    assert "AOSS_METRICS_TOKEN" in told["401 Unauthorized"]
    assert told["nowhere.invalid"] != ""


def test_rules_that_fail(web: Web, failing: PrometheusServer) -> None:
    """A rule that fails is shown with its error, beside the groups that are missing."""
    rules = [each for each in examine_prometheus(web, failing.url) if each.check == "rules"]
    assert [each.verdict for each in rules] == [Verdict.FAIL] * 2
    missing, broken = (each.reason for each in rules)
    assert ("aoss-latency" in missing, "aoss-success," in missing) == (True, False)
    assert ("broken fails" in broken, "matching" in broken) == (True, True)


def test_not_yet_scraped(web: Web, failing: PrometheusServer) -> None:
    """A target that was not yet scraped is a warning to ask again, not a failure."""
    targets = [each for each in examine_prometheus(web, failing.url) if each.check == "target"]
    (waiting,) = [each for each in targets if each.verdict is Verdict.WARN]
    assert (":2/metrics has not been scraped" in waiting.reason, "again" in waiting.remedy) == (True, True)


def test_not_yet_evaluated(web: Web, tmp_path: Path) -> None:
    """Rules that were not yet evaluated are a warning to ask again, not a failure."""
    config = {
        "global": {"evaluation_interval": NEVER},
        "rule_files": [str(PROMETHEUS / "rules" / "*.yml")],
    }
    with prometheus_with(tmp_path, config) as server:
        wait_for(server.rules, 30)
        rules = the(examine_prometheus(web, server.url), "prometheus.rules")
    assert (rules.verdict, "again" in rules.remedy) == (Verdict.WARN, True)
