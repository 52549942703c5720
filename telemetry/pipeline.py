"""The composition root: provider, views, readers, instruments and endpoint, started and stopped together."""

import asyncio
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from sqlalchemy import Engine

from telemetry import asgi, database, readers, recorder
from telemetry.catalogue import CATALOGUE, METER_NAME, Instrument
from telemetry.genai import GenAIMetrics, ModelCall
from telemetry.instruments import Instruments
from telemetry.negotiation import preferred
from telemetry.process import observe_process, prefer_stable_http_names
from telemetry.settings import TelemetrySettings

E = TypeVar("E")

_logger = logging.getLogger(__name__)

_EXEMPLAR_FILTERS = {
    "trace_based": TraceBasedExemplarFilter(),
    "always_on": AlwaysOnExemplarFilter(),
    "always_off": AlwaysOffExemplarFilter(),
}

_global_provider = threading.Lock()  # acquired once and never released: the API takes one provider a process


class Pipeline:
    """A running pipeline. Several in one process are independent; the first is also the API's global one."""

    def __init__(
        self,
        settings: TelemetrySettings,
        meter_provider: MeterProvider,
        registry: CollectorRegistry,
        push_readers: Sequence[PeriodicExportingMetricReader] = (),
    ) -> None:
        self.settings = settings
        self.meter_provider = meter_provider
        self.registry = registry
        self._push_readers = push_readers
        meter = meter_provider.get_meter(METER_NAME, service_version())
        self.instruments = Instruments(meter)
        self._genai = GenAIMetrics(meter, self.instruments.failures) if settings.genai_metrics else None
        self._collect_lock = threading.Lock()
        self._renderer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics-render")
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
        registry = CollectorRegistry(auto_describe=False)
        if settings.disabled:
            return cls(settings, NoOpMeterProvider(), registry)
        with readers.unset(settings.unusable):
            push_readers = readers.push_readers(settings)
            scrape = (
                [readers.prometheus_reader(settings, registry)] if "prometheus" in settings.exporters else []
            )
            provider = SdkMeterProvider(
                metric_readers=[*scrape, *push_readers],
                resource=_resource(settings),
                views=_views(settings),
                exemplar_filter=_EXEMPLAR_FILTERS[settings.exemplar_filter],
                shutdown_on_exit=False,
            )
        pipeline = cls(settings, provider, registry, push_readers)
        pipeline.instruments.create_zero_series()
        pipeline.instruments.announce_rules(rules)
        observe_process(provider)
        if _global_provider.acquire(blocking=False):
            metrics.set_meter_provider(provider)
        return pipeline

    @contextmanager
    def collecting(self) -> Iterator[Iterator[Metric]]:
        """Give the metric families as they are now, while no scrape collects.

        The official collector passes data through a queue: two collections at once would share or double it.
        """
        with self._collect_lock:
            yield iter(self.registry.collect())

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type, in the format that an Accept header asks for.

        Empty when the pipeline is disabled or has no Prometheus reader.
        """
        encode, content_type = choose_encoder(preferred(accept))
        with self._collect_lock:
            return encode(self.registry), content_type

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition, made in a thread: it takes milliseconds per thousand series."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._renderer, self.exposition, accept)

    def measure_execution(
        self, events: AsyncIterator[E], agent_type: str, server_tag: str
    ) -> AbstractAsyncContextManager[AsyncIterator[E]]:
        """Measure an execution; see `telemetry.recorder.measure_execution`."""
        return recorder.measure_execution(
            self.instruments, events, agent_type=agent_type, server_tag=server_tag
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
        self._renderer.shutdown(wait=False)
        if isinstance(self.meter_provider, SdkMeterProvider):
            try:
                self.meter_provider.shutdown(timeout_millis=timeout_seconds * 1000)
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


def _resource(settings: TelemetrySettings) -> Resource:
    # What the operator names wins over what is found here.
    return Resource.create(
        {
            "service.version": service_version(),
            "service.instance.id": str(uuid.uuid4()),
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
