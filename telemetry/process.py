"""The standard process.* metrics of this process."""

import os

from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import MeterProvider

_SEMCONV_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"

_METRICS: dict[str, list[str] | None] = {
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "process.memory.virtual": None,
    "process.open_file_descriptor.count": None,
    "process.thread.count": None,
    "process.context_switches": ["involuntary", "voluntary"],
}


def prefer_stable_http_names() -> None:
    """Choose the stable names of the HTTP conventions for the instrumentations of this process.

    The first instrumentor to run, of whatever kind, reads the variable once and for all. Without it the
    FastAPI instrumentation emits http_server_duration_milliseconds, with the Host header as a label.
    """
    words = [word.strip() for word in os.environ.get(_SEMCONV_OPT_IN, "").split(",") if word.strip()]
    if "http" not in words:
        os.environ[_SEMCONV_OPT_IN] = ",".join(["http", *(word for word in words if word != "http/dup")])


def observe_process(meter_provider: MeterProvider) -> None:
    """Create the process.* instruments on a provider."""
    instrumentor = SystemMetricsInstrumentor(config=_METRICS)
    # One object for the whole process: without this a second provider would get nothing. The callbacks that
    # an earlier provider holds stay, and read the same process.
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    instrumentor.instrument(meter_provider=meter_provider)
