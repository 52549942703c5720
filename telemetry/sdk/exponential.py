"""Base-2 exponential histograms as numbers: where a value belongs, and how buckets are put together.

A range of buckets is an offset and its counts; canonical ranges begin and end with a bucket that is not
zero, and an empty one is (0, ()). Source: metrics data model, "ExponentialHistogram".
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, count
from math import floor, frexp, ldexp, log

from telemetry.sdk import exact
from telemetry.sdk.exact import Total
from telemetry.sdk.merged import ExponentialValue

MAX_SCALE = 20
MIN_SCALE = -10  # one bucket on either side of 1 holds every float

Range = tuple[int, Sequence[int]]

_EMPTY: Range = (0, ())
_SMALLEST_NORMAL = ldexp(1.0, -1022)
_FACTORS = tuple(ldexp(1 / log(2), scale) for scale in range(MAX_SCALE + 1))


def bucket_index(value: float, scale: int) -> int:
    """Return the index of the bucket that holds a positive, finite value, at a scale from -10 to 20.

    Exact at powers of two; every subnormal shares the bucket of the smallest normal number. Elsewhere a
    value within a rounding error of a bound may fall to either side. Source: metrics data model, "All
    Scales: Use the Logarithm Function".
    """
    fraction, exponent = frexp(value)
    # A bucket contains its upper bound, so a power of two belongs to the bucket below.
    power = exponent - 2 if fraction == 0.5 else exponent - 1
    if scale <= 0:
        return max(power, -1023) >> -scale
    if value <= _SMALLEST_NORMAL:
        return (-1022 << scale) - 1
    if fraction == 0.5:
        return ((exponent - 1) << scale) - 1
    return min(floor(log(value) * _FACTORS[scale]), (1024 << scale) - 1)


def scale_change(low: int, high: int, max_size: int) -> int:
    """Return by how much the scale has to fall until indices low to high fit into max_size, at least 2."""
    change = 0
    while (high >> change) - (low >> change) >= max_size:
        change += 1
    return change


def trim(offset: int, counts: Sequence[int]) -> Range:
    """Return the range without the zeros at its ends."""
    occupied = list(compress(count(), counts))
    if not occupied:
        return _EMPTY
    return offset + occupied[0], counts[occupied[0] : occupied[-1] + 1]


def downscale_counts(offset: int, counts: Sequence[int], change: int) -> Range:
    """Return the range at a scale that is lower by change, where each bucket takes in 2^change of before."""
    if change == 0 or not counts:
        return offset, counts
    first = offset >> change
    result = [0] * (((offset + len(counts) - 1) >> change) - first + 1)
    for index, amount in enumerate(counts, offset):
        result[(index >> change) - first] += amount
    return first, result


def unwrap(start: int, slots: Sequence[int]) -> Range:
    """Return the range that circular slots hold; its indices lie in [start, start + len(slots))."""
    turn = start % len(slots)
    return trim(start, [*slots[turn:], *slots[:turn]])


def wrap(offset: int, counts: Sequence[int], size: int) -> list[int]:
    """Return circular slots that hold the range: the bucket of index i in slot i % size."""
    slots = [0] * size
    for index, amount in enumerate(counts, offset):
        slots[index % size] += amount
    return slots


def merge(values: Iterable[ExponentialValue], max_size: int, total: Total = exact.total) -> ExponentialValue:
    """Merge at least one histogram into one, as if it had observed all of their values.

    The scale is the highest at which both ranges fit into max_size buckets each. Minimum and maximum are None
    where a histogram that counted something does not know them.
    """
    parts = list(values)
    # A histogram without buckets says nothing about the scale that the others need.
    bucketed = [part for part in parts if part.positive or part.negative]
    scale = min(part.scale for part in bucketed or parts)
    positive = [downscale_counts(p.positive_offset, p.positive, p.scale - scale) for p in bucketed]
    negative = [downscale_counts(p.negative_offset, p.negative, p.scale - scale) for p in bucketed]
    # Before anything is added up: two ranges of a fine scale may lie millions of buckets apart.
    change = max(_change(positive, max_size), _change(negative, max_size))
    counted = [part for part in parts if part.count]
    return ExponentialValue(
        sum(part.count for part in parts),
        total([part.sum for part in parts]),
        _extreme(min, [part.minimum for part in counted]),
        _extreme(max, [part.maximum for part in counted]),
        scale - change,
        sum(part.zero_count for part in parts),
        *_add([downscale_counts(*each, change) for each in positive]),
        *_add([downscale_counts(*each, change) for each in negative]),
    )


def difference(current: ExponentialValue, previous: ExponentialValue) -> ExponentialValue:
    """Return what was observed since previous, at the lower scale of the two.

    Minimum and maximum are None. Where a count fell, the histogram began anew in between, and all of current
    is returned.
    """
    scale = min(current.scale, previous.scale)
    positive = _subtract(
        downscale_counts(current.positive_offset, current.positive, current.scale - scale),
        downscale_counts(previous.positive_offset, previous.positive, previous.scale - scale),
    )
    negative = _subtract(
        downscale_counts(current.negative_offset, current.negative, current.scale - scale),
        downscale_counts(previous.negative_offset, previous.negative, previous.scale - scale),
    )
    zeros = current.zero_count - previous.zero_count
    if positive is None or negative is None or zeros < 0:
        return current._replace(minimum=None, maximum=None)
    return ExponentialValue(
        current.count - previous.count,
        current.sum - previous.sum,
        None,
        None,
        scale,
        zeros,
        *positive,
        *negative,
    )


class ExponentialWindow:
    """The occupied indices of one range, and the circular slot of max_size that each value belongs to.

    Not safe under concurrency: the caller holds the lock of its series.
    """

    __slots__ = ("end", "max_size", "scale", "start")

    def __init__(self, max_size: int, scale: int) -> None:
        self.max_size = max_size
        self.scale = scale
        self.start = 0
        self.end = -1

    def place(self, value: float) -> int:
        """Return the slot of a positive, finite value, or minus the change of scale that is needed first.

        Slots count from 0. Where a slot is returned, start and end include it; else nothing has changed.
        """
        index = bucket_index(value, self.scale)
        start, end = self.start, self.end
        if end < start:
            start = end = index
        elif index < start:
            start = index
        elif index > end:
            end = index
        if end - start >= self.max_size:
            return -scale_change(start, end, self.max_size)
        self.start, self.end = start, end
        return index % self.max_size

    def rescale(self, change: int) -> None:
        """Lower the scale by change; the caller moves the counts, and rescales the other range too."""
        self.scale -= change
        if self.start <= self.end:
            self.start >>= change
            self.end >>= change


def _change(ranges: Sequence[Range], max_size: int) -> int:
    occupied = [(offset, offset + len(counts) - 1) for offset, counts in ranges if counts]
    if not occupied:
        return 0
    return scale_change(min(low for low, _ in occupied), max(high for _, high in occupied), max_size)


def _add(ranges: Sequence[Range]) -> Range:
    occupied = [(offset, counts) for offset, counts in ranges if counts]
    if not occupied:
        return _EMPTY
    low = min(offset for offset, _ in occupied)
    high = max(offset + len(counts) for offset, counts in occupied)
    total = [0] * (high - low)
    for offset, counts in occupied:
        for position, amount in enumerate(counts, offset - low):
            total[position] += amount
    return trim(low, total)


def _subtract(now: Range, before: Range) -> Range | None:
    offset, counts = now
    left = list(counts)
    for position, amount in enumerate(before[1], before[0] - offset):
        if amount:
            if not 0 <= position < len(left) or left[position] < amount:
                return None
            left[position] -= amount
    return trim(offset, left)


def _extreme(choose: Callable[[list[float]], float], known: Sequence[float | None]) -> float | None:
    values = [value for value in known if value is not None]
    return choose(values) if values and len(values) == len(known) else None
