"""The values of series that are records of several cells, merged over the files that have them."""

from collections.abc import Sequence

from telemetry.sdk.columns import Column
from telemetry.sdk.definition import StreamDefinition
from telemetry.sdk.exact import Total
from telemetry.sdk.exponential import MAX_SCALE, MIN_SCALE, unwrap
from telemetry.sdk.exponential import merge as merge_exponential
from telemetry.sdk.layout import ExponentialCell, GaugeCell, HistogramCell, NumberType
from telemetry.sdk.merged import DataKind, ExponentialValue, HistogramValue

OBSERVE_INTERVAL_SECONDS = 5.0
_OCTAVES = 1024  # a float lies less than so many powers of two from 1
_STALE_NANOS = int(3 * OBSERVE_INTERVAL_SECONDS * 1e9)


def merged_histogram(
    columns: Sequence[Column], ordinal: int, bounds: int, total: Total
) -> HistogramValue | None:
    """Return the sum of all histograms of a series, with a bucket more than bounds.

    None where nothing was seen.
    """
    parts = [found for column in columns if (found := _histogram(column, ordinal, bounds)) is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return HistogramValue(
        sum(part.count for part in parts),
        total([part.sum for part in parts]),
        min(part.minimum for part in parts),  # type: ignore[type-var] # None for all or for none
        max(part.maximum for part in parts),  # type: ignore[type-var]
        list(map(sum, zip(*(part.buckets for part in parts), strict=True))),
    )


def merged_exponential(
    definition: StreamDefinition, columns: Sequence[Column], ordinal: int, total: Total
) -> ExponentialValue | None:
    """Return the sum of all exponential histograms of a series; None where nothing was observed."""
    parts = [
        part
        for column in columns
        if (part := _exponential(definition, column, ordinal)) is not None and part.count > 0
    ]
    if not parts:
        return None
    return merge_exponential(parts, definition.aggregation.max_size, total)


def merged_gauge(columns: Sequence[Column], ordinal: int) -> tuple[float | None, int]:
    """Return the value that was set last, None where none was, and when that was."""
    latest: float | None = None
    latest_time = -1
    for column in columns:
        found = _gauge(column, ordinal)
        if found is not None and found[1] > latest_time:
            latest, latest_time = found
    return latest, latest_time


def merged_observed(
    definition: StreamDefinition, columns: Sequence[Column], ordinal: int, now: int, total: Total
) -> float | None:
    """Return what the workers' last callbacks observed, added up or the latest; None where they did not.

    A worker whose callbacks have not run for three intervals hangs, and says nothing about the present; of a
    counter, what it said still counts.
    """
    observed: list[tuple[float, int]] = []
    for column in columns:
        passed = column.source.records.ints[column.observed] if column.observed >= 0 else 0
        if not definition.outlives_worker and now - passed > _STALE_NANOS:
            continue
        found = _gauge(column, ordinal)
        if found is None or found[1] < passed:
            continue
        observed.append(found)
    if not observed:
        return None
    if definition.aggregation.kind is DataKind.SUM:
        return total([value for value, _ in observed])
    return max(observed, key=lambda each: each[1])[0]


def _histogram(column: Column, ordinal: int, bounds: int) -> HistogramValue | None:
    size = HistogramCell.BUCKETS + bounds + 1
    floats, ints, at = column.source.records.consistent(column.record_at(ordinal), size)
    buckets = ints[at + 4 : at + size].tolist()
    count = sum(buckets)
    if count <= 0:
        return None
    return HistogramValue(count, floats[at + (count & 1)], floats[at + 2], floats[at + 3], buckets)


def _exponential(definition: StreamDefinition, column: Column, ordinal: int) -> ExponentialValue | None:
    floats, ints, at = column.source.records.consistent(column.record_at(ordinal), definition.record_cells)
    copy = (
        at
        + ExponentialCell.COPIES
        + (ints[at + ExponentialCell.ACTIVE] & 1) * definition.exponential_copy_cells
    )
    size = definition.aggregation.max_size
    first = copy + ExponentialCell.BUCKETS
    positive = unwrap(ints[copy + ExponentialCell.POSITIVE_START], ints[first : first + size].tolist())
    negative: tuple[int, Sequence[int]] = (0, ())
    if definition.has_negative_range:
        slots = ints[first + size : first + 2 * size].tolist()
        negative = unwrap(ints[copy + ExponentialCell.NEGATIVE_START], slots)
    scale = ints[copy + ExponentialCell.SCALE]
    # Of a broken file: no float has such a bucket, and a scale that cannot be would take for ever to lower.
    if not MIN_SCALE <= scale <= MAX_SCALE or not all(
        -_OCTAVES << scale + 10 <= offset << 10 and offset + len(counts) << 10 <= _OCTAVES << scale + 10
        for offset, counts in (positive, negative)
    ):
        return None
    zero_count = ints[copy + ExponentialCell.ZERO_COUNT]
    count = zero_count + sum(positive[1]) + sum(negative[1])
    return ExponentialValue(
        count,
        floats[copy + ExponentialCell.SUMS + (count & 1)],
        floats[copy + ExponentialCell.MINIMUM],
        floats[copy + ExponentialCell.MAXIMUM],
        scale,
        zero_count,
        *positive,
        *negative,
    )


def _gauge(column: Column, ordinal: int) -> tuple[float, int] | None:
    floats, ints, at = column.source.records.consistent(column.record_at(ordinal), GaugeCell.SIZE)
    copy = at + GaugeCell.COPIES + (ints[at + GaugeCell.ACTIVE] & 1) * GaugeCell.COPY_SIZE
    kind = ints[copy + GaugeCell.TYPE]
    if kind == NumberType.INT:
        return ints[copy + GaugeCell.VALUE], ints[copy + GaugeCell.TIME]
    if kind == NumberType.FLOAT:
        return floats[copy + GaugeCell.VALUE], ints[copy + GaugeCell.TIME]
    return None
