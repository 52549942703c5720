"""The composition root: provider, views, readers, instruments and endpoint, started and stopped together."""

import logging
import os
import platform
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, ExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from sqlalchemy import Engine
from starlette.responses import Response
from starlette.types import ASGIApp

from telemetry import asgi, database, exposition, readers, recorder
from telemetry.catalogue import CATALOGUE, METER_NAME, Instrument
from telemetry.exemplars import ExecutionExemplarFilter
from telemetry.genai import GenAIMetrics, ModelCall
from telemetry.instruments import Instruments
from telemetry.interrupted import ExecutionNotes, NoNotes, SegmentNotes, account_for_interrupted
from telemetry.official import OfficialScrape
from telemetry.process import observe_process, prefer_stable_http_names
from telemetry.sdk import MeterProvider as SharedMemoryProvider
from telemetry.sdk import PerWorkerView, PullReader
from telemetry.settings import OFFICIAL_SDK, SHARED_MEMORY, TelemetrySettings
from telemetry.watching import Watch

E = TypeVar("E")

_logger = logging.getLogger(__name__)

_EXEMPLAR_FILTERS: dict[str, type[ExemplarFilter]] = {
    "trace_based": ExecutionExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
}

TEXT = "text/plain; version=0.0.4; charset=utf-8"

_empty_scrape: ASGIApp = Response(b"", headers={"content-type": TEXT})

_global_provider = threading.Lock()  # acquired once and never released: the API takes one provider a process


class Pipeline:
    """A running pipeline. Several in one process are independent; the first is also the API's global one.

    `endpoint` answers scrapes, with nothing where there is nothing to scrape; whoever mounts it guards it.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        meter_provider: MeterProvider,
        *,
        watch: Watch | None = None,
        official: OfficialScrape | None = None,
        push_readers: Sequence[PeriodicExportingMetricReader] = (),
    ) -> None:
        self.settings = settings
        self.meter_provider = meter_provider
        self._watch = watch or Watch()
        self._official = official
        self._push_readers = push_readers
        meter = meter_provider.get_meter(METER_NAME, service_version())
        self.instruments = Instruments(meter)
        self._genai = GenAIMetrics(meter, self.instruments.failures) if settings.genai_metrics else None
        self._notes: ExecutionNotes = NoNotes()
        self.endpoint: ASGIApp = official or _empty_scrape
        if isinstance(meter_provider, SharedMemoryProvider):
            self._notes = SegmentNotes(meter_provider)
            account_for_interrupted(meter_provider, self.instruments)
            if "prometheus" in settings.exporters:
                self.endpoint = exposition.MetricsEndpoint(
                    self._watch.source(meter_provider), **self._labelling()
                )
        self._server: exposition.MetricsServer | None = None
        self._shutdown_lock = threading.Lock()
        self._is_shut_down = False

    @classmethod
    def start(cls, settings: TelemetrySettings, *, rules: Iterable[str] = ()) -> "Pipeline":
        """Build and start a pipeline; `rules` are the ids of the compliance rules, for their zero series.

        A disabled pipeline (OTEL_SDK_DISABLED) works in every respect and measures nothing.
        """
        for warning in settings.warnings:
            _logger.warning("%s", warning)
        prefer_stable_http_names()
        if settings.disabled:
            return cls(settings, NoOpMeterProvider())
        watch = Watch()
        with readers.unset(settings.unusable):
            push_readers = readers.push_readers(settings, watch.exporter)
            scrape, provider = _provider(settings, push_readers)
        pipeline = cls(settings, provider, watch=watch, official=scrape, push_readers=push_readers)
        watch.connect(provider)
        pipeline.instruments.create_zero_series()
        pipeline.instruments.announce_rules(rules)
        observe_process(provider)
        if _global_provider.acquire(blocking=False):
            metrics.set_meter_provider(provider)
        return pipeline

    def serve_scrapes(self, bearer_token: str | None) -> None:
        """Serve /metrics at a port of its own too, where OTEL_EXPORTER_PROMETHEUS_HOST or _PORT asks for one.

        One worker has the port; when it dies, another one takes it over.
        """
        if self.settings.scrape_port is None or not isinstance(self.meter_provider, SharedMemoryProvider):
            return
        self._server = exposition.start_http_server(
            self._watch.source(self.meter_provider),
            self.settings.scrape_host,
            self.settings.scrape_port,
            bearer_token=bearer_token,
            **self._labelling(),
        )

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type, in the format that an Accept header asks for; blocks.

        Empty when the pipeline is disabled or has no Prometheus reader.
        """
        if self._official is not None:
            return self._official.text(accept)
        if self.endpoint is _empty_scrape or not isinstance(self.meter_provider, SharedMemoryProvider):
            return b"", TEXT
        return exposition.exposition(self.meter_provider, accept, **self._labelling())

    def _labelling(self) -> dict[str, Any]:
        return {
            "scope_labels": self.settings.scope_labels,
            "created_timestamps": self.settings.created_timestamps,
        }

    def measure_execution(
        self, events: AsyncIterator[E], agent_type: str, server_tag: str, execution: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[E]]:
        """Measure an execution; see `telemetry.recorder.measure_execution`."""
        return recorder.measure_execution(
            self.instruments,
            events,
            agent_type=agent_type,
            server_tag=server_tag,
            execution=execution,
            notes=self._notes,
        )

    def record_error(self, error_type: str, agent_type: str) -> None:
        """Count an error that no execution carries, such as a planner's failure before one starts."""
        recorder.record_error(self.instruments, error_type, agent_type)

    def record_model_call(self, call: ModelCall) -> None:
        """Record a call to a language model, where AOSS_GENAI_METRICS asks for it."""
        if self._genai is not None:
            self._genai.record_model_call(call)

    def count_statements(self, engine: Engine) -> None:
        """Count the statements of an engine; see `telemetry.database.count_statements`."""
        if not self.settings.disabled:
            database.count_statements(engine, self.instruments)

    def instrument_app(self, app: FastAPI) -> None:
        """Measure an application's requests; see `telemetry.asgi.instrument_app`."""
        if not self.settings.disabled:
            with readers.unset(self.settings.unusable):
                asgi.instrument_app(app, self.instruments, self.meter_provider)

    def force_flush(self, timeout_seconds: float = 5.0) -> bool:
        """Export what has been measured, and return whether that was done within the time."""
        # Not through the provider: it would collect for the scrape too, which then shows every series twice.
        deadline = time.monotonic() + timeout_seconds
        flushes = [_Flush(reader) for reader in self._push_readers]
        for flush in flushes:
            flush.join(max(0.0, deadline - time.monotonic()))
        return all(flush.succeeded for flush in flushes)

    def shutdown(self, timeout_seconds: float = 5.0) -> None:
        """Export a last time and stop, within the time even where the collector is away; once is enough."""
        with self._shutdown_lock:
            if self._is_shut_down:
                return
            self._is_shut_down = True
        if self._official is not None:
            self._official.close()
        if self._server is not None:
            self._server.stop()
        shutdown = getattr(self.meter_provider, "shutdown", None)
        if shutdown is not None:
            try:
                shutdown(timeout_millis=timeout_seconds * 1000)
            except Exception:
                _logger.exception("the metrics pipeline did not shut down cleanly")


class _Flush(threading.Thread):
    """One reader's flush, in a thread because an exporter's retries outlast any time it is given."""

    def __init__(self, reader: PeriodicExportingMetricReader) -> None:
        super().__init__(name="metrics-flush", daemon=True)
        self.succeeded = False
        self._reader = reader
        self.start()

    def run(self) -> None:
        try:
            self.succeeded = self._reader.force_flush()
        except Exception:
            _logger.exception("metrics could not be flushed")


def service_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("aoss-telemetry")
    except PackageNotFoundError:
        return "unknown"


def _provider(
    settings: TelemetrySettings, push_readers: Sequence[PeriodicExportingMetricReader]
) -> tuple[OfficialScrape | None, MeterProvider]:
    """Return the provider that OTEL_PYTHON_METER_PROVIDER names.

    And the official exporter where that serves.
    """
    common: dict[str, Any] = {
        "resource": _resource(settings),
        "views": _views(settings),
        "exemplar_filter": _EXEMPLAR_FILTERS[settings.exemplar_filter](),
        "shutdown_on_exit": False,
    }
    if settings.provider == SHARED_MEMORY:
        pull = PullReader(cardinality_limits=readers.cardinality_limits(settings.cardinality_limit))
        return None, SharedMemoryProvider([pull, *push_readers], directory=settings.directory, **common)
    scrape = OfficialScrape(settings.cardinality_limit) if "prometheus" in settings.exporters else None
    pull_readers = [scrape.reader] if scrape is not None else []
    if settings.provider == OFFICIAL_SDK:
        return scrape, SdkMeterProvider([*pull_readers, *push_readers], **common)
    # Somebody else's: what it cannot take is left out, and said.
    provider = metrics.get_meter_provider()
    add = getattr(provider, "add_metric_reader", None)
    if add is None:
        _logger.warning("the meter provider %s takes no readers: nothing is shown", settings.provider)
        return None, provider
    for reader in [*pull_readers, *push_readers]:
        add(reader)
    return scrape, provider


def _resource(settings: TelemetrySettings) -> Resource:
    # What the operator names wins over what is found here.
    return Resource.create(
        {
            "service.version": service_version(),
            "process.pid": os.getpid(),
            "process.runtime.name": platform.python_implementation().lower(),
            "process.runtime.version": platform.python_version(),
            **(settings.resource_attributes or {}),
            "service.name": settings.service_name,
        }
    )


def _views(settings: TelemetrySettings) -> list[View]:
    return [
        *(_view(declaration, settings.cardinality_limit) for declaration in CATALOGUE),
        # A process is a worker's own: a sum over workers would hide the one that leaks.
        PerWorkerView(instrument_name="process.*"),
        # FastAPI measures by itself wherever a global provider is set, beside the instrumentation that we use
        # (mounted applications escape its check), and would put two scopes into one Prometheus family.
        View(meter_name="fastapi", aggregation=DropAggregation()),
        # The instrumentation keeps the last Content-Length seen for all later responses: wrong for streams.
        View(
            meter_name="opentelemetry.instrumentation.fastapi",
            instrument_name="http.server.response.body.size",
            aggregation=DropAggregation(),
        ),
    ]


def _view(declaration: Instrument, limit: int) -> View:
    return View(
        meter_name=METER_NAME,
        instrument_name=declaration.name,
        attribute_keys={attribute.key for attribute in declaration.attributes},
        aggregation=ExplicitBucketHistogramAggregation(declaration.buckets) if declaration.buckets else None,
        aggregation_cardinality_limit=max(limit, declaration.cardinality_limit),
    )
