"""From merged streams to the official data points, cumulative or, for readers that ask for it, delta."""

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics import export as official
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.columns import Stream
from telemetry.sdk.delta import DeltaBase
from telemetry.sdk.merged import DataKind, ExponentialValue, HistogramValue, Value
from telemetry.sdk.views import ReaderConfig


def metrics_data(  # noqa: PLR0917 - what a collection depends on
    streams: Sequence[Stream],
    config: ReaderConfig,
    base: DeltaBase,
    resource: Resource,
    now: int,
    exemplars_since: int,
) -> official.MetricsData | None:
    """Return what a reader collects at a time in Unix nanoseconds; None where there is nothing."""
    scopes: dict[InstrumentationScope, list[official.Metric]] = {}
    for stream in streams:
        points = list(_points(stream, config, base, now, exemplars_since))
        if points:
            scopes.setdefault(stream.definition.scope, []).append(
                official.Metric(
                    name=stream.merged.name,
                    description=stream.merged.description,
                    unit=stream.merged.unit,
                    data=_data(stream, config.temporalities[stream.definition.kind], points),
                )
            )
    if not scopes:
        return None
    return official.MetricsData(
        resource_metrics=[
            official.ResourceMetrics(
                resource=resource,
                scope_metrics=[
                    official.ScopeMetrics(scope=scope, metrics=metrics, schema_url=scope.schema_url or "")
                    for scope, metrics in scopes.items()
                ],
                schema_url=resource.schema_url,
            )
        ]
    )


def _points(
    stream: Stream, config: ReaderConfig, base: DeltaBase, now: int, exemplars_since: int
) -> Iterator[Any]:
    merged = stream.merged
    is_delta = config.temporalities[stream.definition.kind] is AggregationTemporality.DELTA
    is_gauge = merged.kind is DataKind.GAUGE
    for ordinal, current in enumerate(merged.values):
        if current is None:
            continue
        value: Value = current
        start: int | None = None if is_gauge else merged.starts[ordinal]
        if is_delta and is_gauge:
            if not stream.definition.kind.is_observable and not base.is_new(stream.set_at[ordinal]):
                continue
        elif is_delta:
            added = base.since_last(stream, ordinal, current, now)
            if added is None:
                continue
            value, start = added
        exemplars = [
            Exemplar(
                each.filtered_attributes,
                each.value,
                each.time_unix_nano,
                each.span_id or None,
                each.trace_id or None,
            )
            for each in merged.exemplars.get(ordinal, ())
            if each.time_unix_nano > exemplars_since
        ]
        yield _point(stream, ordinal, value, start, now, exemplars)


def _point(  # noqa: PLR0917 - the fields of a point
    stream: Stream,
    ordinal: int,
    value: Value,
    start: int | None,
    now: int,
    exemplars: list[Exemplar],
) -> Any:
    common: dict[str, Any] = {
        "attributes": stream.merged.attributes[ordinal],
        "start_time_unix_nano": start,
        # A series that was made during the merge starts after what the merge is of.
        "time_unix_nano": now if start is None else max(now, start),
        "exemplars": exemplars,
    }
    if isinstance(value, HistogramValue):
        return official.HistogramDataPoint(
            **common,
            count=value.count,
            sum=value.sum,
            bucket_counts=tuple(value.buckets),
            explicit_bounds=stream.merged.bounds,
            min=value.minimum,  # type: ignore[arg-type] # optional in the protocol, and to the exporters
            max=value.maximum,  # type: ignore[arg-type]
        )
    if isinstance(value, ExponentialValue):
        return official.ExponentialHistogramDataPoint(
            **common,
            count=value.count,
            sum=value.sum,
            scale=value.scale,
            zero_count=value.zero_count,
            positive=_buckets(value.positive_offset, value.positive),
            negative=_buckets(value.negative_offset, value.negative),
            flags=0,
            min=value.minimum,  # type: ignore[arg-type]
            max=value.maximum,  # type: ignore[arg-type]
        )
    return official.NumberDataPoint(**common, value=value)


def _buckets(offset: int, counts: Sequence[int]) -> Any:
    # The official SDK's spelling of a range without counts.
    return official.Buckets(offset=offset, bucket_counts=list(counts) or [0])


def _data(stream: Stream, temporality: AggregationTemporality, points: list[Any]) -> Any:
    kind = stream.merged.kind
    if kind is DataKind.GAUGE:
        return official.Gauge(data_points=points)
    if kind is DataKind.SUM:
        return official.Sum(
            data_points=points,
            aggregation_temporality=temporality,
            is_monotonic=stream.definition.is_monotonic,
        )
    if kind is DataKind.HISTOGRAM:
        return official.Histogram(data_points=points, aggregation_temporality=temporality)
    return official.ExponentialHistogram(data_points=points, aggregation_temporality=temporality)
