"""Merges made by hand or from the official SDK, and what a scrape of them says to strict parsers."""

from collections.abc import Generator, Iterable, Mapping

from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import AnyValue
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from telemetry.exposition.families import Complaints
from telemetry.exposition.naming import Escaping
from telemetry.exposition.negotiation import Exposition, Format
from telemetry.exposition.render import Renderer
from telemetry.sdk.merged import (
    DataKind,
    ExemplarValue,
    ExponentialValue,
    HistogramValue,
    Merged,
    MergedStream,
    SeriesAttributes,
    Value,
)

NOTHING = Resource({})
SCOPE = InstrumentationScope("tests")
TEXT = Exposition(Format.TEXT_0_0_4, Escaping.UNDERSCORES)
OPENMETRICS = Exposition(Format.OPENMETRICS_1_0_0, Escaping.UNDERSCORES)

Families = dict[str, tuple[str, str, str, dict[tuple[str, frozenset[tuple[str, str]]], float]]]


class FixedSource:
    """A provider whose merges are all the same."""

    def __init__(self, merged: Merged, slices: int = 1) -> None:
        self.merged = merged
        self.merges = 0
        self.observations = 0
        self._slices = slices

    def merge(self) -> Generator[None, None, Merged]:
        """Yield some times and return the merge."""
        self.merges += 1
        for _ in range(self._slices):
            yield
        return self.merged

    def observe(self) -> None:
        """Count the call."""
        self.observations += 1


def stream(
    name: str,
    series: Iterable[tuple[SeriesAttributes, Value | None]],
    *,
    kind: DataKind = DataKind.SUM,
    monotonic: bool = True,
    unit: str = "",
    description: str = "",
    bounds: tuple[float, ...] = (),
    scope: InstrumentationScope = SCOPE,
    start: int = 0,
    exemplars: Mapping[int, list[ExemplarValue]] | None = None,
) -> MergedStream:
    """Return a stream of these series."""
    pairs = list(series)
    return MergedStream(
        scope=scope,
        name=name,
        description=description,
        unit=unit,
        kind=kind,
        is_monotonic=monotonic,
        bounds=bounds,
        attributes=[attributes for attributes, _ in pairs],
        starts=[start for _ in pairs],
        values=[value for _, value in pairs],
        exemplars=dict(exemplars or {}),
    )


def merged(*streams: MergedStream, resource: Resource = NOTHING) -> Merged:
    """Return a merge of these streams."""
    return Merged(resource, 1_700_000_000 * 10**9, list(streams))


def histogram(buckets: list[int], total: float) -> HistogramValue:
    """Return an explicit histogram without minimum and maximum."""
    return HistogramValue(sum(buckets), total, None, None, buckets)


def renderer(
    exposition: Exposition = OPENMETRICS, *, scope_labels: bool = False, created_timestamps: bool = False
) -> Renderer:
    """Return a renderer with complaints of its own."""
    return Renderer(
        exposition, Complaints(), scope_labels=scope_labels, created_timestamps=created_timestamps
    )


def text_of(everything: Merged, exposition: Exposition = OPENMETRICS, **options: bool) -> str:
    """Return a merge's text, which its format's parser has accepted."""
    text = b"".join(renderer(exposition, **options).render(everything)).decode()
    parsed(text, exposition)
    return text


def parsed(text: str, exposition: Exposition = OPENMETRICS) -> list[Metric]:
    """Return the families of a text, read by the strictest parser there is for it."""
    parse = parse_openmetrics if exposition.format is Format.OPENMETRICS_1_0_0 else parse_text
    return list(parse(text))


def samples(families: Iterable[Metric]) -> Families:
    """Return type, help, unit and samples by family; a series that occurs twice fails.

    An empty label is an absent one to Prometheus, and a bound has many spellings.
    """
    found: Families = {}
    for family in families:
        series: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if value}
            if "le" in labels and sample.name.endswith("_bucket"):
                labels["le"] = str(float(labels["le"]))
            key = (sample.name, frozenset(labels.items()))
            assert key not in series, f"{key} occurs twice"
            series[key] = float(sample.value)
        assert family.name not in found, f"{family.name} occurs twice"
        found[family.name] = (family.type, family.documentation, family.unit, series)
    return found


def from_official(data: export.MetricsData) -> Merged:
    """Return what the official SDK collected, as a merge."""
    streams = []
    resource = NOTHING
    for resource_metrics in data.resource_metrics:
        resource = resource_metrics.resource
        for scope_metrics in resource_metrics.scope_metrics:
            streams += [_stream(scope_metrics.scope, metric) for metric in scope_metrics.metrics]
    return merged(*streams, resource=resource)


def _stream(scope: InstrumentationScope, metric: export.Metric) -> MergedStream:
    series: list[tuple[Mapping[str, AnyValue], Value]] = []
    bounds: tuple[float, ...] = ()
    for point in metric.data.data_points:
        attributes = dict(point.attributes or {})
        if isinstance(point, export.HistogramDataPoint):
            bounds = tuple(point.explicit_bounds)
            value: Value = HistogramValue(
                point.count, point.sum, point.min, point.max, list(point.bucket_counts)
            )
        elif isinstance(point, export.ExponentialHistogramDataPoint):
            value = ExponentialValue(
                point.count,
                point.sum,
                point.min,
                point.max,
                point.scale,
                point.zero_count,
                point.positive.offset,
                list(point.positive.bucket_counts),
                point.negative.offset,
                list(point.negative.bucket_counts),
            )
        else:
            value = point.value
        series.append((attributes, value))
    kinds = {
        export.Sum: DataKind.SUM,
        export.Gauge: DataKind.GAUGE,
        export.Histogram: DataKind.HISTOGRAM,
        export.ExponentialHistogram: DataKind.EXPONENTIAL_HISTOGRAM,
    }
    return stream(
        metric.name,
        series,
        kind=kinds[type(metric.data)],
        monotonic=isinstance(metric.data, export.Sum) and metric.data.is_monotonic,
        unit=metric.unit or "",
        description=metric.description or "",
        bounds=bounds,
        scope=scope,
    )
