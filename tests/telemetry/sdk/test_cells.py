"""How observations are kept in cells, one instruction before and after each commit."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from telemetry.sdk.cells import ExponentialSeries, GaugeSeries, HistogramSeries
from telemetry.sdk.layout import ChunkKind, FileKind, GaugeCell, Header, HistogramCell
from telemetry.sdk.merged import ExponentialValue
from telemetry.sdk.segment import Chunk, SegmentWriter
from tests.telemetry.sdk.support_metrics import key, merged, provider_in, scraped

MOST = (1 << 63) - 1


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[tuple[Chunk, int]]:
    """Give a chunk, and the index there of a hundred cells."""
    writer = SegmentWriter.create(tmp_path, Header(FileKind.SEGMENT, bytes(16)))
    yield writer.allocate(ChunkKind.RECORDS, 100)
    writer.close()


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ([1, 2], 3),
        ([], None),
        ([0], 0),
        ([0.0], 0.0),
        ([1.5, 1.5], 3.0),
        ([1, 0.5], 1.5),
        ([0.5, 1], 1.5),
        ([MOST], MOST),
        ([MOST - 1, 1], MOST),
        ([MOST, 1], float(MOST) + 1),
        ([MOST, 10], float(MOST) + 10),
        ([1 << 63], 2.0**63),
        ([1 << 70, 1], 2.0**70 + 1),
        ([True, 1], 2),
    ],
)
def test_a_sum_of_ints_is_an_int(tmp_path: Path, amounts: list[float], expected: float | None) -> None:
    """A sum is an int while it saw ints that fit into 64 bits, and else a float; nothing wraps around."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")
        for amount in amounts:
            counter.add(amount)
        value = scraped(provider).get("c", {}).get(key())
    assert (value, type(value)) == (expected, type(expected))


def test_a_bound_sum_overflows_likewise(tmp_path: Path) -> None:
    """What does not fit into the int cell goes to the float cell by the bound form, too, up and down."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        bound = meter.create_up_down_counter("u").bind({"k": "v"})
        for amount in (MOST, 5, -(1 << 63), -(1 << 63), -5):
            bound.add(amount)
        assert scraped(provider) == {"u": {key(k="v"): float(-(1 << 63) - 1)}}


@pytest.mark.parametrize("value", [0, -1, MOST, -MOST - 1, 0.0, 0.1, -1e308, 5e-324])
def test_a_gauge_keeps_value_and_type(tmp_path: Path, value: float) -> None:
    """A gauge shows ints as ints and floats as floats, exactly."""
    with provider_in(tmp_path) as provider:
        gauge: Any = provider.get_meter("m").create_gauge("g")
        gauge.set(2.5)
        gauge.set(value)
        found = scraped(provider)["g"][key()]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("value", [MOST + 1, -MOST - 2])
def test_a_gauge_beyond_64_bits_is_a_float(tmp_path: Path, value: int) -> None:
    """An int that no cell holds is shown as the nearest float."""
    with provider_in(tmp_path) as provider:
        provider.get_meter("m").create_gauge("g").set(value)
        assert repr(scraped(provider)["g"][key()]) == repr(float(value))


def test_a_gauge_fills_the_copy_that_is_not_active(cells: tuple[Chunk, int]) -> None:
    """Setting a gauge leaves the copy in force alone until one store makes the other one active."""
    chunk, index = cells
    gauge = GaugeSeries(chunk, index)
    gauge.set(1, 10)
    before = chunk.ints[index : index + GaugeCell.SIZE].tolist()
    gauge.set(2, 20)
    after = chunk.ints[index : index + GaugeCell.SIZE].tolist()
    kept = GaugeCell.COPIES + before[0] * GaugeCell.COPY_SIZE
    assert after[0] == 1 - before[0]
    assert after[kept : kept + GaugeCell.COPY_SIZE] == before[kept : kept + GaugeCell.COPY_SIZE] == [1, 1, 10]


def test_a_histogram_is_committed_by_its_bucket(cells: tuple[Chunk, int]) -> None:
    """Until the bucket is counted, the sum in force is the one without the observation."""
    chunk, index = cells
    histogram = HistogramSeries(chunk, index)

    def in_force() -> tuple[int, float]:
        count = sum(chunk.ints[index + HistogramCell.BUCKETS : index + 8].tolist())
        return count, chunk.floats[index + (count & 1)]

    for number in range(1, 6):
        assert in_force() == (number - 1, 3.0 * (number - 1))
        # What an observation stores before the store that commits it.
        chunk.floats[index + (number & 1)] = 3.0 * number
        assert in_force() == (number - 1, 3.0 * (number - 1))
        histogram.observe(threading.Lock(), 3.0, number % 3, extremes=True)
        assert in_force() == (number, 3.0 * number)


def test_extremes(tmp_path: Path) -> None:
    """Minimum and maximum are those of all values, and are left alone where they are not asked for."""
    with provider_in(tmp_path) as provider:
        histogram = provider.get_meter("m").create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2])
        for value in (3, 1, 2.5, -1):
            histogram.record(value)
        found = scraped(provider)["h"][key()]
    # Negative values are refused, as the specification has it.
    assert (found.minimum, found.maximum, found.sum, found.buckets) == (1, 3, 6.5, [1, 0, 2])


def exponential_of(directory: Path, values: list[float], max_size: int) -> ExponentialValue:
    """Return what a merge reads of an exponential histogram that observed values."""
    aggregation = ExponentialBucketHistogramAggregation(max_size=max_size)
    with provider_in(directory, [View(instrument_name="e", aggregation=aggregation)]) as provider:
        instrument: Any = provider.get_meter("m").create_histogram("e")
        for value in values:
            instrument.record(value)
        found = merged(directory)["e"][key()]
    assert isinstance(found, ExponentialValue)
    return found


def test_an_exponential_histogram_downscales(tmp_path: Path) -> None:
    """Values that need a wider range lower the scale, and no count or sum is lost."""
    values = [1.5 * 2.0**exponent for exponent in range(-20, 21)] + [0, 0.0]
    found = exponential_of(tmp_path, values, 4)
    assert (found.count, found.zero_count, found.sum) == (43, 2, math.fsum(values))
    assert (found.minimum, found.maximum) == (0.0, max(values))
    assert found.scale == -4
    assert (found.positive_offset, found.positive) == (-2, [4, 16, 16, 5])


def test_an_exponential_histogram_of_one_value_is_fine(tmp_path: Path) -> None:
    """One value stays at the finest scale."""
    found = exponential_of(tmp_path, [3.0] * 5, 160)
    assert (found.scale, list(found.positive), found.sum) == (20, [5], 15.0)


def test_extremes_of_floats_fit_the_coarsest_scale(tmp_path: Path) -> None:
    """The smallest and the largest float end up in one histogram of two buckets."""
    found = exponential_of(tmp_path, [5e-324, 1.7976931348623157e308], 2)
    assert (found.scale, found.positive_offset, list(found.positive)) == (-10, -1, [1, 1])


def test_negative_values_have_a_range_of_their_own(cells: tuple[Chunk, int]) -> None:
    """Positive and negative values share a scale, and are counted apart."""
    chunk, index = cells
    series = ExponentialSeries(chunk, index, 2, 20, copy_cells=12)
    for value in (-1.0, 4.0, -16.0):
        series.observe(value, extremes=True)
    copy = index + 1 + chunk.ints[index] * 12
    counts = chunk.ints[copy + 8 : copy + 12].tolist()
    assert (sum(counts[:2]), sum(counts[2:])) == (1, 2)
    assert chunk.floats[copy + 4 + 1] == -13.0


def test_a_change_of_scale_leaves_the_active_copy_alone(cells: tuple[Chunk, int]) -> None:
    """While the other copy is filled, the copy in force says what it said."""
    chunk, index = cells
    series = ExponentialSeries(chunk, index, 2, 20, copy_cells=10)
    series.observe(1.0, extremes=True)
    active = chunk.ints[index]
    copy = index + 1 + active * 10
    before = chunk.ints[copy + 8 : copy + 10].tolist(), chunk.ints[copy]
    series.observe(1e9, extremes=True)
    assert chunk.ints[index] == 1 - active
    assert (chunk.ints[copy + 8 : copy + 10].tolist(), chunk.ints[copy]) == before
