"""The ways out: readers of the official SDK, built from the settings."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics.export import (
    CardinalityLimits,
    ConsoleMetricExporter,
    MetricExporter,
    PeriodicExportingMetricReader,
)

from telemetry.settings import OTLP_HEADERS, TelemetrySettings

_logger = logging.getLogger(__name__)

_KINDS = (
    metrics.Counter,
    metrics.UpDownCounter,
    metrics.Histogram,
    metrics.ObservableCounter,
    metrics.ObservableUpDownCounter,
    metrics.ObservableGauge,
    metrics._Gauge,  # noqa: SLF001 - exported under this name only
)

_EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.sdk.metrics._internal.export",
)

REPEAT_SECONDS = 300.0


class SparingLog(logging.Filter):
    """Pass a message once, and again only when REPEAT_SECONDS have passed.

    An exporter logs every attempt: a collector that is away for a night would fill the log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged; its arguments do not matter, only its message."""
        now = time.monotonic()
        passed = self._passed.get(str(record.msg))
        if passed is not None and now - passed < REPEAT_SECONDS:
            return False
        self._passed[str(record.msg)] = now
        return True


_sparing_log = SparingLog()


def cardinality_limits(limit: int) -> CardinalityLimits:
    """Return a limit for all kinds of instruments, as readers take it."""
    return dict.fromkeys(_KINDS, limit)


def push_readers(
    settings: TelemetrySettings, counted: Callable[[MetricExporter, str], MetricExporter]
) -> Sequence[PeriodicExportingMetricReader]:
    """Return the readers that export by themselves; one that cannot be built is logged and left out.

    `counted` is given each exporter and its name, and returns the one to use.
    """
    readers = []
    for name in settings.exporters:
        if name == "prometheus":
            continue
        try:
            exporter = _exporter(name, settings.otlp_protocol)
        except Exception:
            # A certificate that cannot be read, for example: metrics are then missing, the backend works.
            _logger.exception("the %s metrics exporter cannot be built; nothing is exported there", name)
            continue
        readers.append(
            PeriodicExportingMetricReader(
                counted(exporter, name),
                export_interval_millis=settings.export_interval_millis,
                export_timeout_millis=settings.export_timeout_millis,
                cardinality_limits=cardinality_limits(settings.cardinality_limit),
            )
        )
    return readers


@contextmanager
def checked_environment(settings: TelemetrySettings) -> Iterator[None]:
    """Show the SDK and its exporters, which read the environment, what was checked.

    Variables that they would fail on are hidden, and headers that came from a file are there.
    """
    before = dict(os.environ)
    for key in settings.unusable:
        os.environ.pop(key, None)
    if settings.otlp_headers is not None:
        os.environ[OTLP_HEADERS] = settings.otlp_headers
    try:
        yield
    finally:
        for key in (OTLP_HEADERS, *settings.unusable):
            os.environ.pop(key, None)
            if key in before:
                os.environ[key] = before[key]


def _exporter(name: str, otlp_protocol: str) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter()
    for logger in _EXPORTER_LOGGERS:
        logging.getLogger(logger).addFilter(_sparing_log)
    # Imported where wanted: gRPC starts threads, and few processes export at all.
    if otlp_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return GrpcMetricExporter()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    return OTLPMetricExporter()
