"""Cells of a segment that another process is writing as fast as it can."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.sdk.layout import (
    SUFFIX,
    ChunkKind,
    ExponentialCell,
    GaugeCell,
    HistogramCell,
    NumberType,
)
from telemetry.sdk.snapshot import SegmentReader
from tests.telemetry.sdk.support_processes import line_of, python, started

SERIES = 1000
MAX_SIZE = 4
BUCKETS = 8000  # so many that reading them takes longer than an observation
HISTOGRAM_CELLS = HistogramCell.BUCKETS + BUCKETS
COPY_CELLS = ExponentialCell.BUCKETS + MAX_SIZE
EXPONENTIAL_CELLS = ExponentialCell.COPIES + 2 * COPY_CELLS
OBSERVATIONS = 400  # of each exponential histogram, which widens all the time

# Values are such that the sum, or the time, tells how many observations there were.
WRITER = f"""
import itertools, sys, threading, time
from pathlib import Path
from telemetry.sdk.cells import ExponentialSeries, GaugeSeries, HistogramSeries
from telemetry.sdk.layout import ChunkKind, FileKind, Header, SeriesRecord, StreamRecord
from telemetry.sdk.segment import SegmentWriter
writer = SegmentWriter.create(Path(sys.argv[1]), Header(FileKind.SEGMENT, bytes(16)))
writer.append_record(StreamRecord(b"", b"").pack())
def cells(size):
    chunk, index = writer.allocate(ChunkKind.RECORDS, size)
    writer.append_record(SeriesRecord(0, ChunkKind.RECORDS, chunk.offset + index * 8, 0, b"").pack())
    return chunk, index
gauge = GaugeSeries(*cells(7))
gauge.set(-1, -1)
histogram = HistogramSeries(*cells({HISTOGRAM_CELLS}))
exponentials = [
    ExponentialSeries(*cells({EXPONENTIAL_CELLS}), {MAX_SIZE}, 20, copy_cells={COPY_CELLS})
    for _ in range({SERIES})
]
lock = threading.Lock()
print("ready", flush=True)
for n in itertools.count():
    gauge.set(n if n % 3 else n + 0.5, n)
    histogram.observe(lock, 2.0, n * 37 % {BUCKETS}, extremes=True)
    turn = n % ({SERIES} * {OBSERVATIONS})
    exponential = exponentials[turn // {OBSERVATIONS}]
    exponential.observe(2.0 ** ((turn % {OBSERVATIONS}) // 10), extremes=True)
    if n % 200 == 0:
        time.sleep(0.0002)
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[SegmentReader]:
    """Give a reader of a segment that a process writes in a tight loop."""
    with started(python(WRITER, str(tmp_path))) as process:
        assert line_of(process) == "ready"
        (path,) = tmp_path.glob(f"*{SUFFIX}")
        opened = SegmentReader(path)
        opened.refresh()
        yield opened
        opened.close()
        assert process.poll() is None


def looks(reader: SegmentReader, seconds: float = 1.0) -> Iterator[None]:
    """Read the catalogue again and again for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reader.refresh()
        yield


def test_a_gauge_is_read_at_one_instant(reader: SegmentReader) -> None:
    """Value, type and time of a gauge that is being set are of one measurement, and never go back."""
    seen = set()
    last = -1
    for _ in looks(reader):
        floats, ints, at = reader.records().consistent(0, GaugeCell.SIZE)
        copy = at + GaugeCell.COPIES + ints[at] * GaugeCell.COPY_SIZE
        kind, measured = NumberType(ints[copy + GaugeCell.TYPE]), ints[copy + GaugeCell.TIME]
        value = (floats if kind is NumberType.FLOAT else ints)[copy + GaugeCell.VALUE]
        assert (value, kind) == (
            (measured, NumberType.INT) if measured % 3 else (measured + 0.5, NumberType.FLOAT)
        )
        assert measured >= last
        last = measured
        seen.add(measured)
    assert len(seen) > 20


def test_a_histogram_is_read_at_one_instant(reader: SegmentReader) -> None:
    """Sum and buckets of a histogram that is being written are of one instant, and never fall."""
    seen = set()
    last = 0
    _, record, *_ = reader.take_series()
    position = reader.position(record, HISTOGRAM_CELLS)
    for _ in looks(reader):
        floats, ints, at = reader.records().consistent(position, HISTOGRAM_CELLS)
        count = sum(ints[at + HistogramCell.BUCKETS : at + HISTOGRAM_CELLS].tolist())
        assert floats[at + HistogramCell.SUMS + (count & 1)] == 2.0 * count
        assert count >= last
        last = count
        seen.add(count)
    assert len(seen) > 20


def test_an_exponential_histogram_is_read_at_one_instant(reader: SegmentReader) -> None:
    """Scale, sum and buckets of exponential histograms that are rescaled meanwhile are of one instant."""
    sums = {0: 0.0}
    for number in range(30 * OBSERVATIONS):
        sums[number + 1] = sums[number] + 2.0 ** ((number % OBSERVATIONS) // 10)
    _, _, *series = reader.take_series()
    positions = [reader.position(record, EXPONENTIAL_CELLS) for record in series]
    scales = set()
    for _ in looks(reader):
        records = reader.records()
        for position in positions:
            floats, ints, at = records.consistent(position, EXPONENTIAL_CELLS)
            copy = at + ExponentialCell.COPIES + ints[at] * COPY_CELLS
            first = copy + ExponentialCell.BUCKETS
            count = ints[copy + ExponentialCell.ZERO_COUNT] + sum(ints[first : first + MAX_SIZE].tolist())
            assert floats[copy + ExponentialCell.SUMS + (count & 1)] == sums[count]
            if 0 < count < OBSERVATIONS:
                scales.add(ints[copy + ExponentialCell.SCALE])
    assert len(scales) > 2


def test_number_cells_are_read_whole(tmp_path: Path) -> None:
    """A float cell that is being written is read as one of the values that it had."""
    program = """
import sys
from pathlib import Path
from telemetry.sdk.layout import ChunkKind, FileKind, Header
from telemetry.sdk.segment import SegmentWriter
writer = SegmentWriter.create(Path(sys.argv[1]), Header(FileKind.SEGMENT, bytes(16)))
chunk, index = writer.allocate(ChunkKind.FLOATS, 1)
cells = chunk.floats
print("ready", flush=True)
while True:
    cells[index] = 1.0
    cells[index] = -1.1
"""
    with started(python(program, str(tmp_path))) as process:
        assert line_of(process) == "ready"
        (path,) = tmp_path.glob(f"*{SUFFIX}")
        reader = SegmentReader(path)
        seen = set()
        for _ in looks(reader, 0.5):
            seen.add(reader.numbers(ChunkKind.FLOATS)[0])
        reader.close()
    assert seen - {0.0} == {1.0, -1.1}
