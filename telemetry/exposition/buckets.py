"""Histograms of every kind as classic ones: sorted finite bounds, and a count for each and for the rest.

Source: Prometheus and OpenMetrics compatibility, "Histograms" and "Exponential Histograms".
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from telemetry.sdk.merged import DataKind, ExponentialValue, HistogramValue, MergedStream, Value

SLICE = 256


class Bounds(NamedTuple):
    """Finite bounds, ascending; `scale`, at or below 0, is what an exponential histogram is shown at."""

    upper: tuple[float, ...]
    scale: int = 0


def classic_bounds(stream: MergedStream, values: Sequence[Value | None]) -> Iterator[Bounds | None]:
    """Yield None after each slice of work, and last the bounds under which a histogram stream is shown.

    The text formats have no exponential histograms. They are shown with bounds at powers of two, or of
    2^2^-scale where a scale is below 0. The bounds are those of the whole stream, so that its series can be
    added up; as the series are cumulative the range only grows, so that a bound stays once it was shown. Only
    where a series comes to span more than 2^160, and its scale falls below 0, are they thinned out.
    """
    if stream.kind is not DataKind.EXPONENTIAL_HISTOGRAM:
        yield Bounds(tuple(bound for bound in stream.bounds if bound != math.inf))
        return
    scale, negative, positive, zeros = 0, (0, 0), (0, 0), False
    points = [value for value in values if isinstance(value, ExponentialValue)]
    if points:
        scale = min(0, *(point.scale for point in points))
    for start in range(0, len(points), SLICE):
        for point in points[start : start + SLICE]:
            zeros = zeros or point.zero_count > 0
            positive = _widened(positive, point.positive_offset, point.positive, point.scale - scale)
            negative = _widened(negative, point.negative_offset, point.negative, point.scale - scale)
        yield None
    bounds = [-_power(index, scale) for index in reversed(range(*negative))]
    if zeros or bounds:
        bounds.append(0.0)
    if positive[0] < positive[1]:
        # With the lower end of the lowest bucket: quantiles are interpolated from there, not from 0.
        bounds += [_power(index, scale) for index in range(positive[0], positive[1] + 1)]
    yield Bounds(tuple(bound for bound in bounds if bound != math.inf), scale)


def _widened(known: tuple[int, int], offset: int, counts: Sequence[int], shift: int) -> tuple[int, int]:
    if not any(counts):
        return known
    first, end = offset >> shift, ((offset + len(counts) - 1) >> shift) + 1
    return (first, end) if known[0] == known[1] else (min(first, known[0]), max(end, known[1]))


def _power(index: int, scale: int) -> float:
    """Return base^index at a scale of 0 or below."""
    exponent = index << -scale
    return math.ldexp(1.0, exponent) if exponent <= 1023 else math.inf


def classic(value: HistogramValue | ExponentialValue, bounds: Bounds) -> HistogramValue:
    """Return a histogram under classic bounds.

    A negative value that equals a bound is counted above it, since exponential buckets are mirrored at 0 and
    classic ones are not.
    """
    if isinstance(value, HistogramValue):
        if len(value.buckets) == len(bounds.upper) + 1:
            return value
        # The user's own bound of infinity, whose bucket is the one that every histogram has anyway.
        kept = value.buckets[: len(bounds.upper)]
        return value._replace(buckets=[*kept, sum(value.buckets[len(bounds.upper) :])])
    counts = dict.fromkeys((*bounds.upper, math.inf), 0)
    scale = bounds.scale
    shift = value.scale - scale
    for index, count in enumerate(value.negative, value.negative_offset):
        if count:
            counts[-_power(index >> shift, scale)] += count
    if value.zero_count:
        counts[0.0] += value.zero_count
    for index, count in enumerate(value.positive, value.positive_offset):
        if count:
            counts[_power((index >> shift) + 1, scale)] += count
    return HistogramValue(value.count, value.sum, value.minimum, value.maximum, list(counts.values()))


def added(left: HistogramValue, right: HistogramValue) -> HistogramValue:
    """Return the sum of two histograms with the same bounds."""
    return HistogramValue(
        left.count + right.count,
        left.sum + right.sum,
        None,
        None,
        [a + b for a, b in zip(left.buckets, right.buckets, strict=True)],
    )
