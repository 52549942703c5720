"""A program whose forked child records in a tight loop, to be killed at a random instant, or to be read live.

Observation n has a known value, and each is acknowledged in shared memory once the call has returned. The
program ends with status 0 if every time all acknowledged ones were there, at most one more, and every number
of the series was that of exactly so many observations.
"""

import mmap
import random
import shutil
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from telemetry.sdk import MeterProvider
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import ExponentialValue, HistogramValue
from tests.faults.support_forks import forked, killed
from tests.telemetry.sdk.support_metrics import Key, drain, key, merged, values

BOUNDS = (1.0, 4.0, 16.0, 64.0)
VALUES = (0.5, 2.0, 8.0, 32.0, 128.0, 4.0)
ROUND = 24
"""So many values, each further from 1 than those before, go into a series of an exponential histogram."""
MAX_SIZE = 8
SERIES = 1500
"""Fewer than the limit: no series overflows."""

VIEWS = (
    View(instrument_name="explicit", aggregation=ExplicitBucketHistogramAggregation(BOUNDS)),
    View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation(max_size=MAX_SIZE)),
)

Loop = Callable[[Any, Any], None]


def spread(number: int) -> float:
    """Return value number n of a series that has to be rescaled again and again."""
    return 2.0 ** (number if number % 2 else -number)


def count_ints(meter: Any, acknowledged: Any) -> None:
    """Increment an unbound counter."""
    counter, attributes, n = meter.create_counter("ints"), {"k": "v"}, 0
    while True:
        counter.add(1, attributes)
        n += 1
        acknowledged[0] = n


def count_floats(meter: Any, acknowledged: Any) -> None:
    """Add to a counter what sums up exactly."""
    counter, attributes, n = meter.create_counter("floats"), {"k": "v"}, 0
    while True:
        counter.add(0.25, attributes)
        n += 1
        acknowledged[0] = n


def count_bound(meter: Any, acknowledged: Any) -> None:
    """Increment a bound counter."""
    bound, n = meter.create_counter("bound").bind({"k": "v"}), 0
    while True:
        bound.add(1)
        n += 1
        acknowledged[0] = n


def observe(meter: Any, acknowledged: Any) -> None:
    """Record into an explicit histogram, by turns bound and not."""
    histogram, attributes, n = meter.create_histogram("explicit"), {"k": "v"}, 0
    record = histogram.bind(attributes).record
    while True:
        if n & 8:
            histogram.record(VALUES[n % len(VALUES)], attributes)
        else:
            record(VALUES[n % len(VALUES)])
        n += 1
        acknowledged[0] = n


def observe_widely(meter: Any, acknowledged: Any) -> None:
    """Record into an exponential histogram, whose series are rescaled most of the time."""
    histogram, n = meter.create_histogram("exponential"), 0
    while n < SERIES * ROUND:
        histogram.record(spread(n % ROUND), {"series": str(n // ROUND)})
        n += 1
        acknowledged[0] = n
    signal.pause()


def set_gauge(meter: Any, acknowledged: Any) -> None:
    """Set a gauge, by turns to an int and to a float."""
    gauge, attributes, n = meter.create_gauge("gauge"), {"k": "v"}, 0
    while True:
        n += 1
        gauge.set(n if n & 1 else n + 0.5, attributes)
        acknowledged[0] = n


LOOPS: dict[str, Loop] = {
    "ints": count_ints,
    "floats": count_floats,
    "bound": count_bound,
    "explicit": observe,
    "exponential": observe_widely,
    "gauge": set_gauge,
}


def recorded(instrument: str, series: dict[Key, Any]) -> int:
    """Return how many observations the series hold; raises AssertionError where their parts disagree."""
    if instrument == "exponential":
        return _recorded_widely(series)
    value = series[key(k="v")]
    if instrument == "explicit":
        check_explicit(value)
        return int(value.count)
    if instrument == "floats":
        return int(value * 4)
    if instrument == "gauge":
        assert isinstance(value, int) == bool(int(value) & 1), f"{value!r} is of the wrong type"
    return int(value)


def check_explicit(value: HistogramValue) -> None:
    """Check that a histogram is that of the first VALUES, as many as it says."""
    rounds, rest = divmod(value.count, len(VALUES))
    buckets = [0] * (len(BOUNDS) + 1)
    for number, each in enumerate(VALUES):
        buckets[bisect_left(BOUNDS, each)] += rounds + (number < rest)
    assert buckets == list(value.buckets)
    assert rounds * sum(VALUES) + sum(VALUES[:rest]) == value.sum
    # These two are stored before the commit and may know of one more.
    known = (VALUES[: value.count], VALUES[: value.count + 1])
    assert value.minimum in [min(each) for each in known]
    assert value.maximum in [max(each) for each in known]


def check_exponential(value: ExponentialValue) -> None:
    """Check that an exponential histogram is that of the first values of `spread`."""
    values = [spread(number) for number in range(value.count)]
    assert sum(values) == value.sum
    indices = [_index(each, value.scale) for each in values]
    found = {
        value.positive_offset + position: amount for position, amount in enumerate(value.positive) if amount
    }
    assert {index: indices.count(index) for index in indices} == found
    assert (value.zero_count, value.negative_offset, len(value.negative)) == (0, 0, 0)
    known = (values, [*values, spread(value.count)])
    assert value.minimum in [min(each) for each in known]
    assert value.maximum in [max(each) for each in known]


def _index(power_of_two: float, scale: int) -> int:
    """Return the bucket (base^i, base^(i+1)] of a power of two; base is 2^(2^-scale)."""
    exponent = power_of_two.hex().partition("p")[2]
    return (int(exponent) << scale) - 1 if scale >= 0 else (int(exponent) - 1) >> -scale


def _recorded_widely(series: dict[Key, Any]) -> int:
    for value in series.values():
        check_exponential(value)
    counts = [series[key(series=str(number))].count for number in range(len(series))]
    assert [ROUND] * (len(series) - 1) == counts[:-1]
    return sum(counts)


@contextmanager
def recording(instrument: str, directory: Path) -> Iterator[tuple[int, Any]]:
    """Give the pid of a child that records, and the cell where it acknowledges; the block kills it."""
    with mmap.mmap(-1, mmap.PAGESIZE) as shared, memoryview(shared) as whole, whole.cast("q") as acknowledged:

        def record() -> None:
            provider = MeterProvider(directory=directory, views=VIEWS)
            LOOPS[instrument](provider.get_meter("killed"), acknowledged)

        child = forked(record)
        deadline = time.monotonic() + 20
        while acknowledged[0] == 0:
            assert time.monotonic() < deadline, "nothing was recorded"
            time.sleep(0.0005)
        yield child, acknowledged


def kill_once(instrument: str, directory: Path, delay: float) -> None:
    """Kill one child so many seconds after its first observation, and check what it left."""
    with recording(instrument, directory) as (child, acknowledged):
        time.sleep(delay)
        killed(child)
        promised = acknowledged[0]
    found = recorded(instrument, merged(directory)[instrument])
    assert promised <= found <= promised + 1, f"{promised} were acknowledged and {found} are there"


def kill(instrument: str, directory: str, kills: str, seed: str) -> None:
    """Kill so many children, one after the other."""
    instants = random.Random(seed)  # noqa: S311 - any instant will do
    for number in range(int(kills)):
        path = Path(directory, str(number))
        delay = instants.uniform(0, 0.004)
        try:
            kill_once(instrument, path, delay)
        except AssertionError as problem:
            raise SystemExit(f"kill {number}, {delay} s after the first observation: {problem}") from problem
        shutil.rmtree(path)
    sys.stdout.write(f"survived {kills}\n")


def read(instrument: str, directory: str, seconds: str) -> None:
    """Merge again and again for so long while a child records."""
    merger = Merger(Path(directory))
    merges = 0
    with recording(instrument, Path(directory)) as (child, acknowledged):
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            before = acknowledged[0]
            found = recorded(instrument, values(drain(merger.merge()))[instrument])
            assert before <= found <= acknowledged[0] + 1
            merges += 1
        killed(child)
    merger.close()
    sys.stdout.write(f"read {merges}\n")


ACTIONS: dict[str, Callable[..., None]] = {"kill": kill, "read": read}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](*sys.argv[2:])
