"""The writing side of one series: where its cells are, and how one observation is committed by one store.

`series` is the number of the series' record in the segment's catalogue.

Callers hold the stream's lock. A cell of a segment that was closed (after a fork, after shutdown) raises
ValueError before anything is written.
"""

import threading
from math import inf

from telemetry.sdk.exponential import ExponentialWindow, downscale_counts, unwrap, wrap
from telemetry.sdk.layout import ExponentialCell, GaugeCell, HistogramCell, NumberType
from telemetry.sdk.segment import Chunk

_INT64 = 1 << 63


class NumberCell:
    """A sum: one cell for amounts that are ints, one for floats, each made when first needed."""

    __slots__ = ("float_index", "floats", "int_index", "ints", "series")

    def __init__(self) -> None:
        self.ints: memoryview[int] | None = None
        self.int_index = 0
        self.floats: memoryview[float] | None = None
        self.float_index = 0
        self.series = -1


class GaugeSeries:
    """A last value with its time: the copy that is not active is filled, then made active by one store."""

    __slots__ = ("_base", "_floats", "_ints", "series")

    def __init__(self, chunk: Chunk, index: int) -> None:
        self._ints = chunk.ints
        self._floats = chunk.floats
        self._base = index
        self.series = -1

    def set(self, value: float, now: int) -> None:
        """Set the value, measured at a time in Unix nanoseconds."""
        ints, base = self._ints, self._base
        inactive = 1 - ints[base]
        copy = base + GaugeCell.COPIES + inactive * GaugeCell.COPY_SIZE
        if isinstance(value, int) and -_INT64 <= value < _INT64:
            ints[copy + GaugeCell.VALUE] = value
            ints[copy + GaugeCell.TYPE] = NumberType.INT
        else:
            self._floats[copy + GaugeCell.VALUE] = value
            ints[copy + GaugeCell.TYPE] = NumberType.FLOAT
        ints[copy + GaugeCell.TIME] = now
        ints[base] = inactive


class HistogramSeries:
    """An explicit-bucket histogram; `count`, `total` and the extremes shadow the cells.

    Observation n writes the sum at n & 1, then increments a bucket: that store commits it.
    """

    __slots__ = ("buckets", "count", "floats", "ints", "maximum", "minimum", "series", "sums", "total")

    def __init__(self, chunk: Chunk, index: int) -> None:
        self.ints = chunk.ints
        self.floats = chunk.floats
        self.sums = index + HistogramCell.SUMS
        self.buckets = index + HistogramCell.BUCKETS
        self.series = -1
        self.count = 0
        self.total = 0.0
        self.minimum = inf
        self.maximum = -inf
        self.floats[index + HistogramCell.MINIMUM] = inf
        self.floats[index + HistogramCell.MAXIMUM] = -inf

    def observe(self, lock: threading.Lock, value: float, bucket: int, *, extremes: bool) -> None:
        """Count a value in a bucket, under the stream's lock."""
        floats = self.floats
        sums = self.sums
        # No call inside the lock: a signal handler that records there would wait for ever.
        with lock:
            if value < self.minimum and extremes:
                floats[sums + 2] = value
                self.minimum = value
            if value > self.maximum and extremes:
                floats[sums + 3] = value
                self.maximum = value
            count = self.count + 1
            total = self.total + value
            floats[sums + (count & 1)] = total
            self.ints[self.buckets + bucket] += 1
            self.count = count
            self.total = total


class ExponentialSeries:
    """A base-2 exponential histogram.

    A change of scale fills the inactive copy, and one store makes it active.
    """

    __slots__ = (
        "_active",
        "_base",
        "_copy_cells",
        "_count",
        "_floats",
        "_ints",
        "_maximum",
        "_minimum",
        "_negative",
        "_positive",
        "_total",
        "series",
    )

    def __init__(self, chunk: Chunk, index: int, max_size: int, max_scale: int, *, copy_cells: int) -> None:
        self._ints = chunk.ints
        self._floats = chunk.floats
        self._base = index
        self._copy_cells = copy_cells
        self._positive = ExponentialWindow(max_size, max_scale)
        self._negative = ExponentialWindow(max_size, max_scale)
        self.series = -1
        self._count = 0
        self._total = 0.0
        self._minimum = inf
        self._maximum = -inf
        self._active = index + ExponentialCell.COPIES
        self._ints[self._active + ExponentialCell.SCALE] = max_scale
        self._floats[self._active + ExponentialCell.MINIMUM] = inf
        self._floats[self._active + ExponentialCell.MAXIMUM] = -inf

    def observe(self, value: float, *, extremes: bool) -> None:
        """Count a finite value."""
        bucket = ExponentialCell.ZERO_COUNT.value
        if value:
            bucket = self._place(value)
        ints, floats, copy = self._ints, self._floats, self._active
        if extremes:
            if value < self._minimum:
                floats[copy + ExponentialCell.MINIMUM] = self._minimum = value
            if value > self._maximum:
                floats[copy + ExponentialCell.MAXIMUM] = self._maximum = value
        # Harmless before the commit: what lies in the window decodes the same from a lower start.
        ints[copy + ExponentialCell.POSITIVE_START] = self._positive.start
        ints[copy + ExponentialCell.NEGATIVE_START] = self._negative.start
        count = self._count + 1
        total = self._total + value
        floats[copy + ExponentialCell.SUMS + (count & 1)] = total
        ints[copy + bucket] += 1
        self._count = count
        self._total = total

    def _place(self, value: float) -> int:
        window = self._positive if value > 0 else self._negative
        # Mostly once: near a bound, the index at the lower scale may differ by one from the halved one.
        while (slot := window.place(abs(value))) < 0:
            self._rescale(-slot)
        first = ExponentialCell.BUCKETS + (0 if value > 0 else window.max_size)
        return first + slot

    def _rescale(self, change: int) -> None:
        ints, floats = self._ints, self._floats
        active, base = self._active, self._base
        size = self._positive.max_size
        inactive = base + ExponentialCell.COPIES + (1 - ints[base]) * self._copy_cells
        for window, first in ((self._positive, 0), (self._negative, size)):
            at = ExponentialCell.BUCKETS + first
            if at >= self._copy_cells:
                continue
            counts = ints[active + at : active + at + size].tolist()
            moved = downscale_counts(*unwrap(window.start, counts), change)
            for slot, amount in enumerate(wrap(*moved, size)):
                ints[inactive + at + slot] = amount
        self._positive.rescale(change)
        self._negative.rescale(change)
        ints[inactive + ExponentialCell.SCALE] = self._positive.scale
        ints[inactive + ExponentialCell.POSITIVE_START] = self._positive.start
        ints[inactive + ExponentialCell.NEGATIVE_START] = self._negative.start
        ints[inactive + ExponentialCell.ZERO_COUNT] = ints[active + ExponentialCell.ZERO_COUNT]
        for at in (
            ExponentialCell.SUMS,
            ExponentialCell.SUMS + 1,
            ExponentialCell.MINIMUM,
            ExponentialCell.MAXIMUM,
        ):
            floats[inactive + at] = floats[active + at]
        ints[base] = 1 - ints[base]
        self._active = inactive
