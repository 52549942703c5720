"""Brings what two SDKs collected into one form, in which equal means equal."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
)

from telemetry.sdk.exponential import downscale_counts, trim

# A point's identity as text, and its fields.
Points = dict[str, list[dict[str, Any]]]


def normalised(
    official: MetricsData | None, ours: MetricsData | None, *, with_starts: bool = True
) -> tuple[list[str], list[str]]:
    """Return both as sorted lines, one a data point, which are equal where both collected the same.

    What `exceptions.py` lists is taken out of both; start timestamps where `with_starts` is false.
    """
    expected, actual = _points(official), _points(ours)
    if not with_starts:
        for fields in chain(*expected.values(), *actual.values()):
            del fields["start"]
    for identity in expected.keys() & actual.keys():
        for one, other in zip(expected[identity], actual[identity], strict=False):
            if "scale" in one and "scale" in other:
                _bring_to_one_scale(one, other)
    return _lines(expected), _lines(actual)


def _lines(points: Points) -> list[str]:
    return sorted(f"{identity}: {fields}" for identity, each in points.items() for fields in each)


def _points(data: MetricsData | None) -> Points:
    found: Points = defaultdict(list)
    for resource in () if data is None else data.resource_metrics:
        service = resource.resource.attributes["service.name"]
        for scope in resource.scope_metrics:
            named = scope.scope
            of_scope = (service, named.name, named.version, named.schema_url, _plain(named.attributes or {}))
            for metric in scope.metrics:
                for identity, fields in _metric_points(metric):
                    found[f"{of_scope} {scope.schema_url!r} {identity}"].append(fields)
    for each in found.values():
        each.sort(key=repr)
    return found


def _metric_points(metric: Metric) -> Iterator[tuple[str, dict[str, Any]]]:
    temporality = getattr(metric.data, "aggregation_temporality", None)
    is_delta = temporality is AggregationTemporality.DELTA
    described = (
        metric.name.lower(),  # exception "case_of_names"
        metric.unit,
        metric.description,
        type(metric.data).__name__,
        temporality and temporality.name,
        getattr(metric.data, "is_monotonic", None),
    )
    for point in metric.data.data_points:
        fields: dict[str, Any] = {"start": point.start_time_unix_nano, "time": point.time_unix_nano}
        if isinstance(point, NumberDataPoint):
            if is_delta and point.value == 0 and point.start_time_unix_nano is not None:
                continue  # exception "zero_deltas"
            # Exception "type_of_deltas".
            fields["value"] = float(point.value) if is_delta else (type(point.value).__name__, point.value)
        else:
            fields.update(_histogram_fields(point, is_delta=is_delta))
        yield f"{described} {_plain(point.attributes or {})}", fields


def _histogram_fields(
    point: HistogramDataPoint | ExponentialHistogramDataPoint, *, is_delta: bool
) -> dict[str, Any]:
    fields: dict[str, Any] = {"count": point.count, "sum": float(point.sum)}
    if not is_delta:  # exception "extremes_of_deltas"
        fields["extremes"] = (_recorded(point.min), _recorded(point.max))
    if isinstance(point, ExponentialHistogramDataPoint):
        fields["scale"] = point.scale
        fields["zero_count"] = point.zero_count
        fields["positive"] = _range(point.positive.offset, point.positive.bucket_counts)
        fields["negative"] = _range(point.negative.offset, point.negative.bucket_counts)
        fields["is_delta"] = is_delta
    else:
        fields["bounds"] = tuple(float(bound) for bound in point.explicit_bounds)
        fields["buckets"] = tuple(point.bucket_counts)
        # Exception "random_reservoirs": that of explicit histograms keeps the last of each bucket.
        fields["exemplars"] = sorted(
            repr(
                (
                    float(each.value),
                    each.time_unix_nano,
                    _plain(each.filtered_attributes or {}),
                    each.trace_id,
                    each.span_id,
                )
            )
            for each in point.exemplars
        )
    return fields


def _range(offset: int, counts: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    # The official ranges have zeros at their ends, as their arrays grow by powers of two.
    offset, counts = trim(offset, counts)
    return offset, tuple(counts)


def _recorded(extreme: float | None) -> float | None:
    # Exception "unrecorded_extremes".
    return None if extreme is None or not math.isfinite(extreme) else float(extreme)


def _bring_to_one_scale(official: dict[str, Any], ours: dict[str, Any]) -> None:
    if official["is_delta"]:  # exception "scale_of_deltas"
        finer, coarser = official, ours
    elif official["scale"] == 0 and official["zero_count"]:  # exception "scale_after_zeros"
        finer, coarser = ours, official
    else:
        return
    change = finer["scale"] - coarser["scale"]
    has_buckets = finer["positive"][1] or finer["negative"][1]
    if change < 0 and has_buckets:
        return
    for side in ("positive", "negative"):
        offset, counts = finer[side]
        finer[side] = _range(*downscale_counts(offset, counts, max(change, 0)))
    finer["scale"] = coarser["scale"]


def _plain(value: Any) -> Any:
    """An attribute value, with its type and without a dictionary's order."""
    if isinstance(value, Mapping):
        return tuple(sorted(((key, _plain(each)) for key, each in value.items()), key=repr))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value
