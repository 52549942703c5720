"""The metrics' invariants, in what Prometheus stored of every scrape of the run."""

from collections import defaultdict
from itertools import pairwise

import pytest

from telemetry.labels import AgentType, ErrorType, ExecutionStatus, StepStatus
from tests.stack.evidence import JOB, Run
from tests.stack.scenario import AT_ONCE, TAGS
from tests.stack.truth import Labels, count, labels
from tests.support.stack.promql import Series

pytestmark = pytest.mark.timeout(400)  # the first test waits for the run


def stored(run: Run, selector: str) -> dict[Labels, list[tuple[float, float]]]:
    """Return all stored samples of a metric's series by the labels of its measurements."""
    return {
        labels(
            **{k: v for k, v in each.labels.items() if k not in ("__name__", "job", "instance")}
        ): each.points
        for each in whole_run(run, selector)
    }


def whole_run(run: Run, selector: str) -> list[Series]:
    """Return the stored samples of series, from the first scrape to the end of the last execution."""
    return run.prometheus.samples(f"{selector}[1h]", run.ended)


def test_every_counter_equals_the_events(run: Run) -> None:
    """Each series of each counter is the count of the events that clients were sent, and else zero."""
    for name, expected in count(run.executions).items():
        last = {key: points[-1][1] for key, points in stored(run, name).items()}
        assert dict(expected) == {key: value for key, value in last.items() if value}, name


def test_the_rows_say_the_same(run: Run) -> None:
    """The API lists the executions with the endings that the streams showed."""
    streamed = {(each.id, each.agent_type, each.server_tag, each.status) for each in run.executions}
    listed = {(row["id"], row["agent_type"], row["server_tag"], row["status"]) for row in run.rows}
    assert streamed == listed


def test_the_run_has_everything(run: Run) -> None:
    """The run had every way to end, and errors of most types: what it proves, it proves of these."""
    truth = count(run.executions)
    endings = {dict(key)["status"] for key in truth["aoss_executions_completed_total"]}
    errors = {dict(key)["error_type"] for key in truth["aoss_execution_errors_total"]}
    assert endings == set(ExecutionStatus)
    assert errors == set(ErrorType) - {ErrorType.SYSTEM, ErrorType.PLANNER}
    folded = [points[-1][1] for points in stored(run, "otel_sdk_worker_folded_total").values()]
    assert folded == [1], "a worker died, and its numbers were folded"


def test_no_counter_ever_falls(run: Run) -> None:
    """No counter falls between two scrapes, over a worker's death too, nor does a part of a histogram."""
    kinds = {name: each[0]["type"] for name, each in run.prometheus.get("/api/v1/metadata")["data"].items()}
    falling, seen = [], 0
    for series in whole_run(run, f'{{job="{JOB}"}}'):
        name = series.labels["__name__"]
        family, _, part = name.rpartition("_")
        if kinds.get(name) != "counter" and not (
            kinds.get(family) == "histogram" and part in ("bucket", "count", "sum")
        ):
            continue
        seen += 1
        falls = [pair for pair in pairwise(series.points) if pair[1][1] < pair[0][1]]
        if falls:
            falling.append((series.labels, falls))
    assert falling == []
    assert seen > 500


def test_started_is_completed_and_active(run: Run) -> None:
    """At each scrape started equals completed plus active, but for those in transition."""
    sums: dict[tuple[str, str, float], float] = defaultdict(float)
    metrics = {
        "started": "aoss_executions_total",
        "completed": "aoss_executions_completed_total",
        "active": "aoss_active_executions",
    }
    times: dict[str, set[float]] = defaultdict(set)
    for kind, name in metrics.items():
        for key, points in stored(run, name).items():
            for time, value in points:
                sums[kind, dict(key)["agent_type"], time] += value
                times[kind].add(time)
    # Series also have a sample at the time when they were created: scrapes are where the gauge has one.
    scrapes = sorted(times["active"])
    assert len(scrapes) > 10
    for agent in AgentType:
        differences = [
            sums["started", agent, time] - sums["completed", agent, time] - sums["active", agent, time]
            for time in scrapes
        ]
        assert max(map(abs, differences)) <= AT_ONCE
        assert (differences[0], differences[-1]) == (0, 0)
    assert max(sum(sums["active", agent, time] for agent in AgentType) for time in scrapes) >= 2


def test_one_duration_for_each_completion(run: Run) -> None:
    """In the end there are as many durations as completions, by persona and status."""
    completed: dict[Labels, float] = defaultdict(float)
    for key, points in stored(run, "aoss_executions_completed_total").items():
        completed[labels(**{k: v for k, v in key if k != "server_tag"})] += points[-1][1]
    timed = {
        key: points[-1][1] for key, points in stored(run, "aoss_execution_duration_seconds_count").items()
    }
    assert {key: value for key, value in completed.items() if value} == timed


def test_known_series_begin_at_zero(run: Run) -> None:
    """The first scrape saw every known series at zero, so that increase() sees its first event."""
    agents = [str(agent) for agent in AgentType]
    expected = {
        "aoss_executions_total": {labels(agent_type=a, server_tag=t) for a in agents for t in TAGS},
        "aoss_executions_completed_total": {
            labels(agent_type=a, server_tag=t, status=s)
            for a in agents
            for t in TAGS
            for s in ExecutionStatus
        },
        "aoss_execution_steps_total": {labels(agent_type=a, status=s) for a in agents for s in StepStatus},
        "aoss_execution_errors_total": {
            labels(agent_type=a, error_type=e) for a in agents for e in ErrorType
        },
        "aoss_self_healing_attempts_total": {
            labels(agent_type=a, success=s) for a in agents for s in ("true", "false")
        },
        "aoss_active_executions": {labels(agent_type=a) for a in agents},
    }
    for name, series in expected.items():
        first = {
            labels(
                **{k: v for k, v in sample.labels.items() if k not in ("__name__", "job", "instance")}
            ): sample
            for sample in run.prometheus.query(name, run.began)
        }
        assert series <= first.keys(), name
        assert {sample.value for sample in first.values()} == {0}, name
