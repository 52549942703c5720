"""Every query of every dashboard, asked of a real Prometheus that scrapes a real backend."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from telemetry.labels import AgentType
from tests.grafana.queries import (
    EMPTY_WHEN_HEALTHY,
    ask,
    dashboards,
    panel_queries,
)
from tests.stack.deployment import copy_prometheus
from tests.support.backend import free_port, running_backend, wait_for
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.prometheus import PrometheusServer, running_prometheus

# The range in view begins with the service; the scrape interval is a second.
VIEW = {"__rate_interval": "20s", "__range": "1m", "__interval": "1s"}

# A rate needs two samples, rules an evaluation after them, and a graph's last point lies up to a step ago.
SETTLED = " and on () ".join(
    [
        "sum(aoss_executions_completed_total offset 2s) == 4",
        "min(count_over_time(aoss_execution_duration_seconds_sum[1m] offset 2s)) > 1",
        "job:aoss_executions_bad:ratio_rate1h offset 2s",
        "job:aoss_execution_latency_slow:ratio_rate1h offset 2s",
    ]
)

# What needs more than a backend and a few seconds; tests/stack asks these of the whole deployment.
NOT_HERE = {
    "aoss-pipeline / Refused": "no Collector runs",
    "aoss-pipeline / Points in and out": "no Collector runs",
    "aoss-pipeline / Queue fill": "no Collector runs",
    "aoss-pipeline / Collector memory": "no Collector runs",
    "aoss-pipeline / Exports": "nothing is pushed",
    "aoss-overview / Success over 30 days": "a window of days has its first value after a full minute",
    "aoss-overview / Error budget left": "the same",
    "aoss-overview / Burn rate": "the same, for the window of 3 days",
}


class World(NamedTuple):
    """A Prometheus that has seen these executions; it was scraping, and they had not begun, at `idle`."""

    prometheus: PrometheusServer
    executions: set[str]
    began: float
    idle: float
    ended: float


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Scrape a backend before, while and after it succeeds, fails, heals and denies."""
    folder = tmp_path_factory.mktemp("grafana")
    settings = {"AOSS_METRICS_CREATED_TIMESTAMPS": "true"}
    try:
        prometheus = running_prometheus(folder / "config" / "prometheus.yml", folder / "prometheus")
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
    with running_backend(folder / "data", settings) as backend:
        targets = {"aoss-backend": backend.port, "prometheus": prometheus.port, "otel-collector": free_port()}
        copy_prometheus(folder / "config", targets, free_port())
        with prometheus:
            began = time.time()
            scrapes = 'count_over_time(aoss_executions_total{agent_type="general"}[1m]) > 2'
            wait_for(lambda: prometheus.query(scrapes), 30)
            idle = time.time()
            occupied = folder / "made"
            occupied.mkdir()
            ran = [
                backend.execute("true", agent_type=AgentType.NETWORK),
                backend.execute("false"),
                backend.execute("mkfs.ext4 /dev/no-such-device"),
                backend.execute(f"mkdir {occupied}", f"rmdir {occupied}"),
            ]
            wait_for(lambda: prometheus.query(SETTLED), 30)
            executions = {events[-1]["execution_id"] for events in ran}
            yield World(prometheus, executions, began, idle, time.time())


QUERIES = [query for each in dashboards().values() for query in panel_queries(each, VIEW)]


def test_every_query_has_data(world: World) -> None:
    """All queries parse, and only those have no data for which a reason is written down."""
    unanswered = {
        query.where for query in QUERIES if not ask(world.prometheus, query, world.began, world.ended, 1)
    }
    reasons = NOT_HERE | EMPTY_WHEN_HEALTHY
    unexplained = sorted(where for where in unanswered if where.split(" (panel")[0] not in reasons)
    assert unexplained == [], "\n".join(unexplained)


def answer(world: World, title: str, at: float) -> list[float]:
    """Return the values that the overview's panel of one number shows at a time."""
    (query,) = (each for each in QUERIES if each.where.startswith(f"aoss-overview / {title} (panel"))
    return [sample.value for sample in world.prometheus.query(query.expr, at=at)]


def test_numbers_are_true(world: World) -> None:
    """Half of four executions succeeded, one of three healings helped, and one command was denied."""
    counts = {
        title: answer(world, title, world.ended) for title in ("Executions", "Active", "Commands denied")
    }
    # An increase is extrapolated to the ends of the range.
    assert {title: [round(value) for value in values] for title, values in counts.items()} == {
        "Executions": [4],
        "Active": [0],
        "Commands denied": [1],
    }
    # Series of which one began a moment later differ in their range by that moment.
    assert answer(world, "Success rate", world.ended) == pytest.approx([1 / 2], rel=1e-3)
    assert answer(world, "Healing success", world.ended) == pytest.approx([1 / 3], rel=1e-3)


def test_idle_panels_have_no_value(world: World) -> None:
    """Before the first execution, shares and durations have no value at all, so that a panel says so."""
    titles = ("Success rate", "Average duration", "Median duration", "Healing success")
    assert {title: answer(world, title, world.idle) for title in titles} == {title: [] for title in titles}


def test_exemplars_name_executions(world: World) -> None:
    """The exemplars behind the duration panels name executions that the backend knows."""
    asked = [query for query in QUERIES if query.kind == "exemplars"]
    for query in asked:
        found = ask(world.prometheus, query, world.began, world.ended, 1)
        assert {each["labels"]["execution_id"] for each in found} <= world.executions, query.where
        assert found, query.where
    assert len(asked) == 2


def test_the_start_is_marked_once(world: World) -> None:
    """The annotation for restarts marks the one run that was seen, at one step."""
    (query, *_) = (each for each in QUERIES if each.where == "aoss-overview / annotation Restarts")
    series = ask(world.prometheus, query, world.began - 60, world.ended, 1)
    assert [len(each.points) for each in series] == [1]


def test_a_chosen_value_filters(world: World) -> None:
    """With an agent type chosen, the overview counts that one only."""
    query, *_ = panel_queries(dashboards()["aoss-overview"], VIEW | {"agent_type": "network"})
    assert query.where.startswith("aoss-overview / Executions (")
    (sample,) = ask(world.prometheus, query, world.began, world.ended, 1)
    assert round(sample.value) == 1
