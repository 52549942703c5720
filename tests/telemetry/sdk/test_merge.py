"""What a merge shows of several workers, alive and dead, by the rules of each kind of instrument."""

import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from telemetry.exposition import exposition
from telemetry.sdk import PerWorkerView, clock
from telemetry.sdk.merge import SLICE, Merger
from tests.telemetry.sdk.support_metrics import Worker, drain, key, merged, provider_in, scraped, values

HERE = "__import__('tests.telemetry.sdk.test_merge', fromlist=['VIEWS']).VIEWS"
VIEWS = [
    View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation(max_size=8)),
    PerWorkerView(instrument_name="per_worker"),
]
RECORD = """
meter.create_counter("counter").add({0}, {{"k": "v"}})
meter.create_counter("floats").add({0} + 0.5)
meter.create_up_down_counter("up_down").add({0})
meter.create_histogram("histogram", explicit_bucket_boundaries_advisory=[5, 50]).record({0})
meter.create_histogram("exponential").record({0})
meter.create_gauge("gauge").set({0})
meter.create_observable_counter("seen_counter", [lambda _: [Observation({0})]])
meter.create_observable_up_down_counter("seen_up_down", [lambda _: [Observation({0})]])
meter.create_observable_gauge("seen_gauge", [lambda _: [Observation({0})]])
meter.create_observable_gauge("per_worker", [lambda _: [Observation({0})]])
provider.observe()
"""


def record(worker: Worker, amount: int) -> None:
    """Have a worker record an amount with every kind of instrument."""
    worker.do(f"exec({RECORD.format(amount)!r})")


def test_living_and_dead_workers_are_merged_by_kind(tmp_path: Path) -> None:
    """Counters and histograms count the dead, up-down counters do not; a gauge is the latest."""
    with Worker.started(tmp_path, HERE) as first, Worker.started(tmp_path, HERE) as second:
        with Worker.started(tmp_path, HERE) as last:
            for worker, amount in ((first, 1), (second, 10), (last, 100)):
                record(worker, amount)
            alive = merged(tmp_path)
            last.kill()
        dead = merged(tmp_path)
    assert alive["up_down"] == {(): 111}
    assert alive["seen_up_down"] == {(): 111}
    assert alive["seen_gauge"] == {(): 100}
    assert dead["up_down"] == {(): 11}
    assert dead["seen_up_down"] == {(): 11}
    assert dead["seen_gauge"] == {(): 10}
    for found in (alive, dead):
        assert found["counter"] == {key(k="v"): 111}
        assert found["floats"] == {(): 112.5}
        assert found["gauge"] == {(): 100}
        assert found["seen_counter"] == {(): 111}
        histogram, exponential = found["histogram"][()], found["exponential"][()]
        assert tuple(histogram) == (3, 111.0, 1.0, 100.0, [1, 1, 1])
        assert tuple(exponential)[:6] == (3, 111.0, 1.0, 100.0, 0, 0)
        assert (exponential.positive_offset, list(exponential.positive)) == (-1, [1, 0, 0, 0, 1, 0, 0, 1])


def test_a_series_a_worker_has_slots_that_are_used_again(tmp_path: Path) -> None:
    """Series told apart by worker carry the lowest number that no living worker has."""
    with (
        Worker.started(tmp_path, HERE) as first,
        Worker.started(tmp_path, HERE) as second,
        Worker.started(tmp_path, HERE) as third,
    ):
        for worker, amount in ((first, 1), (second, 10), (third, 100)):
            record(worker, amount)
        assert merged(tmp_path)["per_worker"] == {key(worker=0): 1, key(worker=1): 10, key(worker=2): 100}
        second.kill()
        assert merged(tmp_path)["per_worker"] == {key(worker=0): 1, key(worker=2): 100}
        with Worker.started(tmp_path, HERE) as fourth:
            record(fourth, 1000)
            expected = {key(worker=0): 1, key(worker=1): 1000, key(worker=2): 100}
            assert merged(tmp_path)["per_worker"] == expected


def test_a_gauge_is_the_latest_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a gauge that several processes set, the one set last is shown, whichever segment is read first."""
    for child, now in enumerate([20, 30, 10]):
        monkeypatch.setattr(clock, "time_ns", lambda now=now: now)
        with provider_in(tmp_path) as provider:
            provider.get_meter("m").create_gauge("g").set(child)
    assert merged(tmp_path)["g"] == {(): 1}


def test_a_series_started_when_it_first_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start timestamp of a series is the earliest of all workers, and stays."""
    for now in (2000, 1000, 3000):
        monkeypatch.setattr(clock, "time_ns", lambda now=now: now)
        with provider_in(tmp_path) as provider:
            counter = provider.get_meter("m").create_counter("c")
            counter.add(1)
            counter.add(0.5, {"k": str(now)})
    merger = Merger(tmp_path)
    for _ in range(2):
        (stream,) = drain(merger.merge())
        starts = dict(zip(map(key, stream.merged.attributes), stream.merged.starts, strict=True))
        assert starts == {(): 1000, key(k="1000"): 1000, key(k="2000"): 2000, key(k="3000"): 3000}
    merger.close()


def test_what_callbacks_did_not_say_again_is_not_shown(tmp_path: Path) -> None:
    """A series that the callbacks reported once and then no more is not reported."""
    said: list[Observation] = []
    with provider_in(tmp_path) as provider:
        meter = provider.get_meter("m")
        meter.create_observable_gauge("g", [lambda _: said])
        meter.create_observable_counter("c", [lambda _: said])
        shown = []
        for turn in (["a", "b"], ["b"], [], ["a"]):
            said[:] = [Observation(1, {"k": each}) for each in turn]
            assert provider.observe()
            found = scraped(provider)
            assert found.get("g") == found.get("c")
            shown.append(set(found.get("g", {})))
    assert shown == [{key(k="a"), key(k="b")}, {key(k="b")}, set(), {key(k="a")}]


def test_callbacks_that_hang_say_nothing_of_the_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What callbacks observed three intervals ago is no gauge's value any more, and still counts."""
    with provider_in(tmp_path) as provider:
        meter = provider.get_meter("m")
        meter.create_observable_gauge("g", [lambda _: [Observation(1)]])
        meter.create_observable_counter("c", [lambda _: [Observation(1)]])
        provider.observe()
        assert scraped(provider) == {"g": {(): 1}, "c": {(): 1}}
        later = time.time_ns() + 16_000_000_000
        monkeypatch.setattr(clock, "time_ns", lambda: later)
        assert merged(tmp_path) == {"c": {(): 1}}


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({"unit": "s"}, {"unit": "By"}, 2),
        ({"kind": "up_down_counter"}, {}, 2),
        ({"kind": "histogram"}, {}, 2),
        ({}, {}, 3),
    ],
)
def test_a_changed_stream_starts_anew(
    tmp_path: Path, before: dict[str, str], after: dict[str, str], shown: int
) -> None:
    """In a directory that is used again, totals go on; another kind or unit replaces the old."""
    for options, amount in ((before, 1), (after, 2)):
        with provider_in(tmp_path) as provider:
            given = dict(options)
            kind = given.pop("kind", "counter")
            instrument: Any = getattr(provider.get_meter("m"), f"create_{kind}")("c", **given)
            (instrument.record if kind == "histogram" else instrument.add)(amount)
            streams = [each for each in drain(provider.merge()).streams if any(each.values)]
    assert [list(stream.values) for stream in streams] == [[shown]]
    assert [stream.unit for stream in streams] == [after.get("unit", "")]


def test_another_description_hides_nothing(tmp_path: Path) -> None:
    """What was counted under another description still counts, and a scrape adds it up."""
    for description, amount in (("old", 1), ("new", 2)):
        with provider_in(tmp_path) as provider:
            provider.get_meter("m").create_counter("c", description=description).add(amount)
            text = exposition(provider)[0].decode()
    assert "\nc_total 3\n" in text


def test_changed_bounds_start_anew(tmp_path: Path) -> None:
    """In a directory that is used again, a histogram of other bounds replaces the old one."""
    for bounds in ([1.0], [1.0, 2.0]):
        views = [View(instrument_name="h", aggregation=ExplicitBucketHistogramAggregation(bounds))]
        with provider_in(tmp_path, views) as provider:
            provider.get_meter("m").create_histogram("h").record(1.5)
            found = scraped(provider)["h"][()]
    assert (found.count, found.buckets) == (1, [0, 1, 0])


def test_a_merge_that_was_given_up_loses_nothing(tmp_path: Path) -> None:
    """A merge may be abandoned at any of its steps; the next one of the same process is complete."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")
        for number in range(3 * SLICE):
            counter.add(1, {"k": str(number % 2000)})
    given_up_after = 0
    was_ended = False
    while not was_ended:
        merger = Merger(tmp_path)
        begun = merger.merge()
        given_up_after += 1
        was_ended = len(list(islice(begun, given_up_after))) < given_up_after
        begun.close()
        assert sum(values(drain(merger.merge()))["c"].values()) == 3 * SLICE
        merger.close()
    assert given_up_after > 4


def test_new_series_and_files_are_merged_as_they_come(tmp_path: Path) -> None:
    """One process that merges again and again sees new streams, series and workers."""
    merger = Merger(tmp_path)
    assert drain(merger.merge()) == []
    with provider_in(tmp_path) as one:
        counter = one.get_meter("m").create_counter("c")
        for number in range(1, 4):
            counter.add(1, {"k": str(number)})
            counter.add(0.5)
            found = values(drain(merger.merge()))["c"]
            assert found == {(): number / 2, **{key(k=str(each)): 1 for each in range(1, number + 1)}}
        with provider_in(tmp_path) as two:
            two.get_meter("m").create_counter("c").add(1, {"k": "3"})
            two.get_meter("other").create_counter("d").add(2)
            both = values(drain(merger.merge()))
            assert (both["c"][key(k="3")], both["d"]) == (2, {(): 2})
    assert values(drain(merger.merge())) == both
    merger.close()


def test_a_forked_child_counts_for_itself(tmp_path: Path) -> None:
    """What was counted before a fork counts once, and what parent and child count after it adds up."""
    with provider_in(tmp_path) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        bound = counter.bind()
        counter.add(1)
        bound.add(10)
        child = os.fork()
        if child == 0:
            try:
                counter.add(100)
                bound.add(1000)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        bound.add(10_000)
        assert scraped(provider)["c"] == {(): 11_111}
