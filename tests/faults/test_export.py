"""Several workers and one collector: one of them exports for all, whichever of them dies."""

import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.support_collector import Arrival, Collector, grpc_collector, http_collector
from tests.faults.support_workers import COUNTER, HISTOGRAM, WORKERS, Service
from tests.telemetry.sdk.support_processes import wait_for

INTERVAL_MILLIS = 200


def kill_leader(collector: Collector) -> float:
    """Kill whoever exported last, and return when."""
    leader = int(collector.arrivals[-1].sender)
    at = time.monotonic()
    os.kill(leader, signal.SIGKILL)
    return at


def wait_for_successor(collector: Collector, dead: str) -> Arrival:
    """Return the first export of another worker than the dead one."""
    count = 1
    while True:
        arrival = collector.wait(count)
        if arrival.sender != dead and count > 1:
            return arrival
        count += 1


def wait_for_all(collector: Collector) -> None:
    """Wait until every worker has counted, which a histogram tells: each has a bucket of its own sum."""
    count = 1
    while True:
        points = collector.wait(count).points(HISTOGRAM)
        if points and points[0].min == 0.5 and points[0].max == WORKERS - 0.5:
            return
        count += 1


def resources(arrivals: list[Arrival]) -> set[Any]:
    """Return the different resources of the requests, as their attributes."""
    return {
        frozenset((each.key, each.value.string_value or each.value.int_value) for each in resource.attributes)
        for resource in (found.resource for arrival in arrivals for found in arrival.request.resource_metrics)
    }


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_one_stream_survives_its_exporter(tmp_path: Path, method: str) -> None:
    """One worker exports the sum of all; killed, another goes on with it; the last exports the end.

    The numbers never fall, the series start where they started, and the resource is the run's.
    """
    with http_collector() as collector:
        options: dict[str, Any] = {
            "endpoint": collector.endpoint,
            "interval_millis": INTERVAL_MILLIS,
            "directory": str(tmp_path / "metrics"),
        }
        with Service.started(method, **options) as service:
            wait_for_all(collector)
            first = collector.arrivals[-1].sender
            assert {first} == {arrival.sender for arrival in collector.arrivals}
            killed = kill_leader(collector)
            second = wait_for_successor(collector, first)
            assert second.at - killed < 10
            known = service.counted()
            seen = len(collector.arrivals)
            collector.wait(seen + 3)
            assert known <= collector.arrivals[-1].value(COUNTER)
            counted = service.stop()
        arrivals = [arrival for arrival in collector.arrivals if arrival.points(COUNTER)]
        # The worker that was killed may have counted one that it could not tell.
        assert arrivals[-1].value(COUNTER) in (counted, counted + 1)
        values = [arrival.value(COUNTER) for arrival in arrivals]
        assert sorted(values) == values
        for name in (COUNTER, HISTOGRAM):
            points = [arrival.points(name) for arrival in arrivals if arrival.points(name)]
            assert {1} == {len(each) for each in points}, "one series"
            assert len({each[0].start_time_unix_nano for each in points}) == 1
            times = [each[0].time_unix_nano for each in points]
            assert all(one < other for one, other in pairwise(times)), "no instant is reported twice"
        (resource,) = resources(collector.arrivals)
        keys = dict(resource)
        assert keys["service.name"] == "counting"
        assert (
            (tmp_path / "metrics" / "instance").read_text().strip().endswith(str(keys["service.instance.id"]))
        )
        assert [key for key in keys if key.startswith("process.")] == []


def test_a_successor_does_not_wait_for_its_interval(tmp_path: Path) -> None:
    """Over gRPC, with a minute between exports, a dead leader is replaced at once, by one worker."""
    with grpc_collector() as collector:
        options: dict[str, Any] = {
            "endpoint": collector.endpoint,
            "interval_millis": 60_000,
            "directory": str(tmp_path / "metrics"),
            "grpc": True,
            "flush": True,
        }
        with Service.started("spawn", **options) as service:
            first = collector.wait(1).sender
            # Whoever counts on after its flush has nothing but the leader's death to export for.
            wait_for(lambda: service.least() > 1)
            known = service.counted()
            killed = kill_leader(collector)
            second = wait_for_successor(collector, first)
            assert second.at - killed < 10
            assert known <= second.value(COUNTER)
            time.sleep(0.5)
            assert {each.sender for each in collector.arrivals} == {first, second.sender}, "one is silent"
            counted = service.stop()
        assert collector.arrivals[-1].value(COUNTER) in (counted, counted + 1)


def test_deltas_are_never_doubled(tmp_path: Path) -> None:
    """Deltas of successive leaders follow on each other, and a killed leader loses one at most."""
    kills = 2
    with http_collector() as collector:
        options: dict[str, Any] = {
            "endpoint": collector.endpoint,
            "interval_millis": 50,
            "directory": str(tmp_path / "metrics"),
            "delta": True,
        }
        with Service.started("fork", **options) as service:
            wait_for_all_deltas(collector)
            for _ in range(kills):
                dead = collector.arrivals[-1].sender
                kill_leader(collector)
                seen = len(collector.arrivals)
                while collector.wait(seen + 1).sender == dead:
                    seen += 1
                collector.wait(seen + 3)
            counted = service.stop()
        arrivals = [arrival for arrival in collector.arrivals if arrival.points(COUNTER)]
        points = [arrival.points(COUNTER)[0] for arrival in arrivals]
        total = sum(arrival.value(COUNTER) for arrival in arrivals)
        missing = 0
        for one, other in pairwise(points):
            assert one.time_unix_nano <= other.start_time_unix_nano, "no interval overlaps another"
            missing += one.time_unix_nano < other.start_time_unix_nano
        assert missing <= kills
        assert total <= counted + kills
        if missing == 0:
            assert counted <= total
        histograms = [point for arrival in arrivals for point in arrival.points(HISTOGRAM)]
        assert histograms
        assert not [point for point in histograms if point.HasField("min") or point.HasField("max")]


def wait_for_all_deltas(collector: Collector) -> None:
    """Wait until exports come regularly."""
    collector.wait(8)
