"""The composition root: provider, views, readers, instruments and endpoint, started and stopped together."""

import ipaddress
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from sqlalchemy import Engine
from starlette.responses import Response
from starlette.types import ASGIApp

from telemetry import asgi, database, exposition, readers, recorder
from telemetry.catalogue import METER_NAME
from telemetry.genai import GenAIMetrics, ModelCall
from telemetry.instruments import Instruments
from telemetry.interrupted import ExecutionNotes, NoNotes, SegmentNotes, account_for_interrupted
from telemetry.official import OfficialScrape
from telemetry.process import observe_process, prefer_stable_http_names
from telemetry.providers import build_provider, service_version
from telemetry.sdk import MeterProvider as SharedMemoryProvider
from telemetry.sdk.bounded import BoundedCall
from telemetry.settings import TelemetrySettings
from telemetry.watching import Watch

E = TypeVar("E")

_logger = logging.getLogger(__name__)

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
        with readers.checked_environment(settings):
            push_readers = readers.push_readers(settings, watch.exporter)
            scrape, provider = build_provider(settings, push_readers)
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

        One worker has the port; when it dies, another one takes it over. Without a token only loopback is
        served.
        """
        if self.settings.scrape_port is None or self.endpoint is _empty_scrape:
            return
        if not isinstance(self.meter_provider, SharedMemoryProvider):
            _logger.warning(
                "metrics have no port of their own under the meter provider %s", self.settings.provider
            )
            return
        if not bearer_token and not _is_loopback(self.settings.scrape_host):
            _logger.error(
                "metrics are not served on %s without a token: set AOSS_METRICS_TOKEN, or use localhost",
                self.settings.scrape_host,
            )
            return
        try:
            self._server = exposition.start_http_server(
                self._watch.source(self.meter_provider),
                self.settings.scrape_host,
                self.settings.scrape_port,
                bearer_token=bearer_token,
                **self._labelling(),
            )
        except OSError:
            # The host is no address of this machine, or the port needs rights: the backend works without.
            _logger.exception(
                "metrics cannot be served at %s:%d", self.settings.scrape_host, self.settings.scrape_port
            )

    def exposition(self, accept: str = "", names: frozenset[str] = frozenset()) -> tuple[bytes, str]:
        """Return the exposition and its content type, in the format that an Accept header asks for; blocks.

        `names` are those of the families wanted, all where empty; the official exporter shows all anyway.
        Empty when the pipeline is disabled or has no Prometheus reader.
        """
        if self._official is not None:
            return self._official.text(accept)
        if self.endpoint is _empty_scrape or not isinstance(self.meter_provider, SharedMemoryProvider):
            return b"", TEXT
        return exposition.exposition(self.meter_provider, accept, names, **self._labelling())

    @property
    def shared_directory(self) -> Path | None:
        """The directory of the run, where workers share their numbers; None where each shows its own."""
        if isinstance(self.meter_provider, SharedMemoryProvider):
            return self.meter_provider.directory
        return None

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
            with readers.checked_environment(self.settings):
                asgi.instrument_app(app, self.instruments, self.meter_provider)

    def force_flush(self, timeout_seconds: float = 5.0) -> bool:
        """Export what has been measured, and return whether that was done within the time."""
        # Not through the provider: it would collect for the scrape too, which then shows every series twice.
        deadline = time.monotonic() + timeout_seconds
        # In threads, because an exporter's retries outlast any time it is given.
        flushes = [BoundedCall("flush", reader.force_flush) for reader in self._push_readers]
        succeeded = True
        for flush in flushes:
            try:
                flush.wait(deadline - time.monotonic())
            except TimeoutError:
                succeeded = False
            except Exception:
                _logger.exception("metrics could not be flushed")
                succeeded = False
        return succeeded

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


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
