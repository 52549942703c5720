"""The pipeline watching itself: otel.sdk.* metrics of collections, exports, refused series and workers.

Source: semantic conventions, "OpenTelemetry SDK metrics"; what they lack is named in their manner.
"""

import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from opentelemetry.metrics import Meter, MeterProvider, Observation
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from telemetry.exposition.sharing import Source
from telemetry.sdk import MeterProvider as SharedMemoryProvider
from telemetry.sdk.merged import Merged

METER_NAME = "telemetry.pipeline"
_COMPONENT = ("otel_component_name", "otel_component_type")


class SelfMetric(NamedTuple):
    """An instrument of the pipeline itself, and the name under which Prometheus shows it.

    `labels` are Prometheus' names of its attributes.
    """

    name: str
    prometheus_name: str
    unit: str
    description: str
    kind: str
    labels: tuple[str, ...] = ()


EXPORTED = SelfMetric(
    "otel.sdk.exporter.metric_data_point.exported",
    "otel_sdk_exporter_metric_data_point_exported_total",
    "{data_point}",
    "Data points that were exported; with error.type, those whose export failed.",
    "Counter",
    (*_COMPONENT, "error_type"),
)
COLLECTION_DURATION = SelfMetric(
    "otel.sdk.metric_reader.collection.duration",
    "otel_sdk_metric_reader_collection_duration_seconds",
    "s",
    "Time that a collection over all workers took.",
    "Histogram",
    _COMPONENT,
)
OVERFLOWED_SETS = SelfMetric(
    "otel.sdk.metric.overflowed_sets",
    "otel_sdk_metric_overflowed_sets_total",
    "{set}",
    "Attribute sets that were refused a series of their own by a cardinality limit.",
    "ObservableCounter",
)
DROPPED_SERIES = SelfMetric(
    "otel.sdk.metric.dropped_series",
    "otel_sdk_metric_dropped_series_total",
    "{series}",
    "Series that were dropped for want of space.",
    "ObservableCounter",
)
SKIPPED_SEGMENTS = SelfMetric(
    "otel.sdk.worker.skipped_segments",
    "otel_sdk_worker_skipped_segments",
    "{segment}",
    "Files that the last collection left out because they cannot be read.",
    "ObservableGauge",
)
LIVE_WORKERS = SelfMetric(
    "otel.sdk.worker.live", "otel_sdk_worker_live", "{worker}", "Workers that live.", "ObservableGauge"
)
FOLDED_WORKERS = SelfMetric(
    "otel.sdk.worker.folded",
    "otel_sdk_worker_folded_total",
    "{worker}",
    "Dead workers whose numbers were folded into the archive.",
    "ObservableCounter",
)
SELF_METRICS = (
    COLLECTION_DURATION,
    EXPORTED,
    OVERFLOWED_SETS,
    DROPPED_SERIES,
    SKIPPED_SEGMENTS,
    LIVE_WORKERS,
    FOLDED_WORKERS,
)

COLLECTION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_TYPE = "otel.component.type"
_NAME = "otel.component.name"
_SCRAPE = {_TYPE: "prometheus_http_text_metric_exporter", _NAME: "prometheus_http_text_metric_exporter/0"}


class Watch:
    """The pipeline's own instruments; until `connect` it counts nothing, and a failure of it stays in it."""

    def __init__(self) -> None:
        self._exported: Any = None
        self._collections: Any = None

    def connect(self, provider: MeterProvider) -> None:
        """Create the instruments on a provider."""
        meter = provider.get_meter(METER_NAME)
        self._exported = meter.create_counter(
            EXPORTED.name, unit=EXPORTED.unit, description=EXPORTED.description
        )
        self._collections = meter.create_histogram(
            COLLECTION_DURATION.name,
            unit=COLLECTION_DURATION.unit,
            description=COLLECTION_DURATION.description,
            explicit_bucket_boundaries_advisory=COLLECTION_BUCKETS,
        )
        if isinstance(provider, SharedMemoryProvider):
            _observe_shared_memory(meter, provider)

    def exporter(self, exporter: MetricExporter, name: str) -> MetricExporter:
        """Return an exporter that counts what another one exports."""
        return _CountedExporter(
            exporter, {_TYPE: f"{name}_metric_exporter", _NAME: f"{name}_metric_exporter/0"}, self
        )

    def source(self, provider: Source) -> Source:
        """Return a source of merges that times those of another one."""
        return _TimedSource(provider, self)

    def count_exported(self, points: int, attributes: dict[str, str]) -> None:
        """Count data points that went out, or did not."""
        if self._exported is not None:
            self._exported.add(points, attributes)

    def time_collection(self, seconds: float) -> None:
        """Record the time that a scrape's merge took."""
        if self._collections is not None:
            self._collections.record(seconds, _SCRAPE)


class _CountedExporter(MetricExporter):
    def __init__(self, exporter: MetricExporter, attributes: dict[str, str], watch: Watch) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)  # noqa: SLF001 - how readers ask
        self._exporter = exporter
        self._attributes = attributes
        self._watch = watch

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        points = sum(
            len(metric.data.data_points)
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        try:
            result = self._exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
        except Exception as error:
            self._watch.count_exported(points, {**self._attributes, "error.type": type(error).__name__})
            raise
        failed = {} if result is MetricExportResult.SUCCESS else {"error.type": "export_failed"}
        self._watch.count_exported(points, {**self._attributes, **failed})
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)


class _TimedSource:
    def __init__(self, source: Source, watch: Watch) -> None:
        self._source = source
        self._watch = watch

    def observe(self) -> None:
        self._source.observe()

    def merge(self) -> Generator[object, None, Merged]:
        begun = time.perf_counter()
        merged = yield from self._source.merge()
        self._watch.time_collection(time.perf_counter() - begun)
        return merged


def _observe_shared_memory(meter: Meter, provider: SharedMemoryProvider) -> None:
    def observe(create: Callable[..., object], metric: SelfMetric, read: Callable[[], float]) -> None:
        create(
            metric.name,
            [lambda _: [Observation(read())]],
            unit=metric.unit,
            description=metric.description,
        )

    counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
    observe(counter, OVERFLOWED_SETS, lambda: provider.statistics().overflowed_sets)
    observe(counter, DROPPED_SERIES, lambda: provider.statistics().dropped_series)
    observe(gauge, SKIPPED_SEGMENTS, lambda: provider.statistics().skipped_segments)
    observe(gauge, LIVE_WORKERS, lambda: provider.statistics().live_workers)
    observe(counter, FOLDED_WORKERS, lambda: provider.statistics().folded_workers)
