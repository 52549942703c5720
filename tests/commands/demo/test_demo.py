"""`aoss demo`: what it shows, that its numbers are true, and that it leaves no panel empty."""

import re
import time
from collections import Counter

import pytest

from app.demo.scenarios import scenarios
from app.top.exposition import labels_of, name_of, parse
from app.top.tally import quantile
from telemetry.labels import AgentType, Decision, ExecutionStatus, StepStatus
from tests.commands.demo.conftest import EXECUTIONS, Watched
from tests.grafana.queries import EMPTY_WHEN_HEALTHY, ask, dashboards, panel_queries

# As Grafana has them where scrapes are a second apart and five minutes are in view.
BUILT_IN = {"__rate_interval": "4s", "__interval": "1s", "__range": "5m"}

PATIENCE_SECONDS = 30

# Their rules look at whole minutes, so that up to one more passes; tests/stack waits for them.
A_MINUTE_LATER = {
    "aoss-overview / Success over 30 days (panel 202, A)",
    "aoss-overview / Error budget left (panel 203, A)",
    "aoss-overview / Burn rate (panel 204, D)",
}


def rose(watched: Watched, name: str, label: str = "") -> Counter[str]:
    """Return by how much a counter rose during the demo, by the values of one label."""
    found: Counter[str] = Counter()
    for (sample, labels), value in watched.increase.items():
        if sample == name and value:
            found[dict(labels).get(label, "")] += value
    return found


def test_the_bar(watched: Watched) -> None:
    """While it runs there is a bar, with how many have ended, of how many, and how."""
    assert re.search(rf"^\d+ of {EXECUTIONS} [━╸╺]+ \d:\d\d:\d\d", watched.bar, re.MULTILINE)
    assert f"{EXECUTIONS} of {EXECUTIONS} " in watched.screen


def test_the_summary(watched: Watched) -> None:
    """Each line says how much /metrics rose, which is what the streams told, and the exit code is 0."""
    lines = {
        what: (int(told), int(measured))
        for what, told, measured in re.findall(
            r"^(\S.*?) +(\d+) +(\d+)  agree$", watched.screen, re.MULTILINE
        )
    }
    expected = {
        "executions started": rose(watched, "aoss_executions_total")[""],
        "durations measured": rose(watched, "aoss_execution_duration_seconds_count")[""],
    }
    for title, name, label in (
        ("executions ended", "aoss_executions_completed_total", "status"),
        ("steps", "aoss_execution_steps_total", "status"),
        ("errors", "aoss_execution_errors_total", "error_type"),
        ("healings, success", "aoss_self_healing_attempts_total", "success"),
        ("commands", "aoss_compliance_checks_total", "decision"),
    ):
        expected |= {f"{title}: {value}": number for value, number in rose(watched, name, label).items()}
    assert lines == {what: (number, number) for what, number in expected.items()}
    assert "DIFFER" not in watched.screen
    assert "\nended: 0\n" in watched.screen


def test_the_variety(watched: Watched) -> None:
    """There is something of each: agents, endings, steps, healings, errors, decisions, refused plans."""
    assert rose(watched, "aoss_executions_total")[""] == EXECUTIONS
    assert set(rose(watched, "aoss_executions_total", "agent_type")) == set(AgentType)
    ended = rose(watched, "aoss_executions_completed_total", "status")
    assert set(ended) == set(ExecutionStatus) - {ExecutionStatus.INTERRUPTED}
    assert set(rose(watched, "aoss_execution_steps_total", "status")) == set(StepStatus)
    assert set(rose(watched, "aoss_self_healing_attempts_total", "success")) == {"true", "false"}
    assert set(rose(watched, "aoss_compliance_checks_total", "decision")) == set(Decision)
    errors = rose(watched, "aoss_execution_errors_total", "error_type")
    assert set(errors) == {"command_error", "compliance_violation"}
    plans = watched.backend.total("aoss_api_requests_total", endpoint="/api/chat/plan", status_code="422")
    assert plans == len(AgentType)
    assert watched.backend.total("aoss_active_executions") == 0


def test_every_panel_has_data(watched: Watched) -> None:
    """After a demo each query of the overview has data in a Prometheus, but for those of a fault."""
    if watched.prometheus is None:
        pytest.skip(watched.without_prometheus)
    prometheus, overview = watched.prometheus, panel_queries(dashboards()["aoss-overview"], BUILT_IN)
    assert len(overview) > 50
    expected = {where for where in EMPTY_WHEN_HEALTHY if where.startswith("aoss-overview")}
    deadline = time.time() + PATIENCE_SECONDS
    # Asked for up to the end of the demo; only rules are given the time to have looked at it.
    while empty := {
        query.where
        for query in overview
        if not ask(prometheus, query, watched.begun, time.time() if ":" in query.expr else watched.over, 1)
    } - (expected | A_MINUTE_LATER):
        assert time.time() < deadline, empty
        time.sleep(0.5)
    assert {where for where in expected for query in overview if query.where == where} == expected


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_quantiles_are_those_of_prometheus(watched: Watched, share: float) -> None:
    """What `aoss top` makes of the demo's histograms is what PromQL makes of them."""
    if watched.prometheus is None:
        pytest.skip(watched.without_prometheus)
    for family in ("aoss_execution_duration_seconds", "aoss_execution_step_duration_seconds"):
        buckets: Counter[float] = Counter()
        for series, value in parse(watched.backend.http.get("/metrics").text).series.items():
            if name_of(series) == f"{family}_bucket":
                buckets[float(labels_of(series)["le"])] += round(value)
        query = f"histogram_quantile({share}, sum by (le) ({family}_bucket))"
        assert quantile(share, buckets) == pytest.approx(watched.prometheus.value(query))


def test_commands_change_nothing() -> None:
    """No command of a demo writes: each is one of those that were looked at one by one."""
    commands = {
        re.sub(r"^sleep [0-9.]+$", "sleep", command)
        for scenario in scenarios(400)
        for command in scenario.commands
    }
    assert commands == {
        "uname -sr",
        "cat /proc/loadavg",
        "date -u",
        "mkdir /tmp",
        "ls -d /tmp",
        "cat /nonexistent/aoss-demo",
        "sleep",
        "mkfs.ext4 /nonexistent/aoss-demo",
        "echo 'the check failed' >&2; exit 3",
    }
