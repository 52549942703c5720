"""Histograms of every kind as classic ones."""

import math
import random

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from telemetry.sdk.merged import DataKind, ExponentialValue, MergedStream
from tests.telemetry.exposition.sources import (
    OPENMETRICS,
    TEXT,
    from_official,
    histogram,
    merged,
    parsed,
    stream,
    text_of,
)

Buckets = dict[float, float]


def exponential(scale: int, offset: int, counts: list[int], zeros: int = 0) -> ExponentialValue:
    """Return an exponential histogram of positive values."""
    return ExponentialValue(sum(counts) + zeros, 1.0, None, None, scale, zeros, offset, counts, 0, [])


def buckets(*streams: MergedStream) -> dict[str, Buckets]:
    """Return the cumulative buckets by the label `k`."""
    found: dict[str, Buckets] = {}
    for family in parsed(text_of(merged(*streams))):
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                series = found.setdefault(sample.labels.get("k", ""), {})
                series[float(sample.labels["le"])] = sample.value
    return found


def shown(*values: ExponentialValue) -> dict[str, Buckets]:
    """Return the buckets of one stream with these values under k = 0, 1, ..."""
    series = [({"k": str(number)}, value) for number, value in enumerate(values)]
    return buckets(stream("h", series, kind=DataKind.EXPONENTIAL_HISTOGRAM))


@pytest.mark.parametrize("spread", [0.1, 3.0, 60.0, 200.0])
def test_exponential_buckets_count_what_was_recorded(spread: float) -> None:
    """Every bound counts exactly the recorded values up to it, at whatever scale the SDK arrived."""
    memory = InMemoryMetricReader(
        preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation(max_size=80)}
    )
    provider = MeterProvider([memory], shutdown_on_exit=False)
    generator = random.Random(7)  # noqa: S311 - a repeatable sample
    values = [0.0, 1.0, 2.0, *(math.exp(generator.uniform(-spread, spread)) for _ in range(300))]
    instrument = provider.get_meter("m").create_histogram("h")
    for value in values:
        instrument.record(value)
    data = memory.get_metrics_data()
    provider.shutdown()
    assert data is not None
    (found,) = buckets(*from_official(data).streams).values()
    ordered = sorted(values)
    assert {bound: sum(value <= bound for value in ordered) for bound in found} == found
    assert math.inf in found
    assert len(found) > 2


def test_bounds_are_powers_of_two_and_stay() -> None:
    """Growing values add bounds; none that was shown goes or counts less, and all series have the same."""
    before = shown(exponential(2, 0, [1, 1, 1, 1, 5]), exponential(20, 0, [2]))
    after = shown(exponential(1, -6, [1, 0, 0, 0, 0, 0, 2, 2, 5, 0, 9]), exponential(20, 0, [3]))
    assert [1.0, 2.0, 4.0, math.inf] == list(before["0"])
    assert list(before["0"]) == list(before["1"])
    assert list(after["0"]) == list(after["1"])
    assert set(before["0"]) < set(after["0"])
    assert all(after[k][bound] >= count for k in before for bound, count in before[k].items())


def test_a_negative_scale_widens_the_bounds() -> None:
    """Below scale 0 the bounds are powers of 2^2^-scale, for all series of the stream."""
    found = shown(exponential(-2, -1, [1, 1, 2]), exponential(0, 3, [7]))
    assert [2.0**-4, 1.0, 2.0**4, 2.0**8, math.inf] == list(found["0"])
    assert {2.0**-4: 0.0, 1.0: 0.0, 2.0**4: 7.0, 2.0**8: 7.0, math.inf: 7.0} == found["1"]


def test_zeros_and_the_largest_floats_have_a_bucket() -> None:
    """Zeros are at most 0; what lies under the last power of two of a float is under +Inf."""
    found = shown(exponential(0, 1023, [4], zeros=3))
    assert {0.0: 3.0, 2.0**1023: 3.0, math.inf: 7.0} == found["0"]


def test_negative_values_are_mirrored() -> None:
    """Negative exponential buckets have negative bounds; with them there is neither sum nor count."""
    value = ExponentialValue(6, -9.0, None, None, 0, 1, 0, [2], 0, [1, 2])
    written = text_of(merged(stream("h", [({}, value)], kind=DataKind.EXPONENTIAL_HISTOGRAM)), TEXT)
    assert [tuple(line.rsplit(" ", 1)) for line in written.splitlines() if line[0] != "#"] == [
        ('h_bucket{le="-2.0"}', "2"),
        ('h_bucket{le="-1.0"}', "3"),
        ('h_bucket{le="0.0"}', "4"),
        ('h_bucket{le="1.0"}', "4"),
        ('h_bucket{le="2.0"}', "6"),
        ('h_bucket{le="+Inf"}', "6"),
    ]


def test_an_exponential_histogram_without_values() -> None:
    """A histogram that has seen nothing has the bucket that every one has."""
    assert {"0": {math.inf: 0.0}} == shown(exponential(20, 0, []))


def test_a_bound_of_infinity_is_the_one_that_is_there_anyway() -> None:
    """A user's own bound of infinity is not written twice."""
    found = buckets(
        stream("h", [({}, histogram([1, 2, 4], 9.0))], kind=DataKind.HISTOGRAM, bounds=(1.0, math.inf))
    )
    assert {"": {1.0: 1.0, math.inf: 7.0}} == found


@pytest.mark.parametrize(
    ("bounds", "total", "in_text", "in_openmetrics"),
    [((-1.0, 1.0), 3.0, False, False), ((0.0, 1.0), -3.0, True, False), ((0.0, 1.0), 3.0, True, True)],
)
def test_sums_that_may_fall(
    bounds: tuple[float, ...],
    total: float,
    in_text: bool,  # noqa: FBT001 - a column of the table
    in_openmetrics: bool,  # noqa: FBT001 - the same
) -> None:
    """Item 27: below 0 there is neither sum nor count, which OpenMetrics would refuse."""
    everything = merged(
        stream("h", [({}, histogram([1, 2, 3], total))], kind=DataKind.HISTOGRAM, bounds=bounds)
    )
    assert in_text is ("h_sum" in text_of(everything, TEXT))
    assert in_openmetrics is ("h_sum" in text_of(everything, OPENMETRICS))
    assert in_openmetrics is ("h_count" in text_of(everything, OPENMETRICS))
