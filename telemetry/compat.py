"""The first implementation's functions, recorded through the Meter API: a drop-in for its `metrics` module.

The first call sets the pipeline up from the environment. No `record_` function raises. Values outside the
closed lists are recorded as they are, as the first implementation did, and the cardinality limit bounds them:
dropping them would unbalance started and completed executions. Two exceptions: an HTTP method that is not
standard becomes `_OTHER`, and a duration that is not a number, negative or infinite counts as 0 seconds.

Nothing keeps these calls balanced: `telemetry.recorder.measure_execution` is the interface that does.
"""

import atexit
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response

from telemetry.asgi import http_method
from telemetry.environment import SettingsError
from telemetry.failures import Failures
from telemetry.instruments import Instruments, attribute_value
from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings

_logger = logging.getLogger(__name__)

_lock = threading.Lock()
_pipeline: Pipeline | None = None
_failures = Failures()

P = ParamSpec("P")


def _never_raising(function: Callable[P, None]) -> Callable[P, None]:
    """Report whatever goes wrong in a function, and return to its caller as if nothing had."""

    @wraps(function)
    def guarded(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            function(*arguments, **named)
        except Exception:  # noqa: BLE001 - telemetry never raises into its caller
            _failures.report(function.__name__)

    return guarded


@_never_raising
def record_execution_start(agent_type: str = "general", server_tag: str = "unknown") -> None:
    """Count an execution that starts, and raise the active gauge."""
    instruments = _instruments()
    agent = {"agent_type": attribute_value(agent_type)}
    where = {**agent, "server_tag": attribute_value(server_tag)}
    instruments.executions.add(1, where)
    instruments.active_executions.add(1, agent)


@_never_raising
def record_execution_complete(
    agent_type: str = "general",
    server_tag: str = "unknown",
    status: str = "Success",
    duration_seconds: float = 0.0,
) -> None:
    """Count an execution that has ended, record its duration, and lower the active gauge."""
    instruments = _instruments()
    agent = {"agent_type": attribute_value(agent_type)}
    ended = {**agent, "status": attribute_value(status)}
    where = {**ended, "server_tag": attribute_value(server_tag)}
    seconds = _seconds(duration_seconds)
    instruments.executions_completed.add(1, where)
    instruments.execution_duration.record(seconds, ended)
    instruments.active_executions.add(-1, agent)


@_never_raising
def record_execution_step(agent_type: str = "general", status: str = "Success") -> None:
    """Count a step that has ended."""
    _instruments().execution_steps.add(
        1, {"agent_type": attribute_value(agent_type), "status": attribute_value(status)}
    )


@_never_raising
def record_execution_error(error_type: str, agent_type: str = "general") -> None:
    """Count an error."""
    _instruments().execution_errors.add(
        1, {"error_type": attribute_value(error_type), "agent_type": attribute_value(agent_type)}
    )


@_never_raising
def record_self_healing(
    agent_type: str = "general",
    success: bool | str = True,  # noqa: FBT001, FBT002 - the first implementation's signature
) -> None:
    """Count a healing attempt; the words "true" and "false" do as well as the values."""
    succeeded = success.strip().lower() == "true" if isinstance(success, str) else bool(success)
    _instruments().self_healing_attempts.add(
        1, {"agent_type": attribute_value(agent_type), "success": "true" if succeeded else "false"}
    )


@_never_raising
def record_api_request(method: str, endpoint: str, status_code: int) -> None:
    """Count a finished request; `endpoint` should be a route template, since each value becomes a series."""
    _instruments().api_requests.add(
        1,
        {
            "method": http_method(method),
            "endpoint": attribute_value(endpoint),
            "status_code": attribute_value(status_code),
        },
    )


@_never_raising
def record_db_operation(operation: str, table: str) -> None:
    """Count a database operation."""
    _instruments().db_operations.add(
        1, {"operation": attribute_value(operation), "table": attribute_value(table)}
    )


def get_metrics() -> Response:
    """Return the exposition as a response, in the text format that every Prometheus reads."""
    body, content_type = _started().exposition()
    return Response(body, headers={"content-type": content_type})


def get_metrics_summary() -> dict[str, Any]:
    """Return the AOSS metrics' totals, ready for JSON.

    Prometheus name → `total` and `by`: label → value → total. A histogram's `total` counts its observations,
    and `sum` adds them up.
    """
    summary: dict[str, Any] = {}
    text = _started().exposition()[0].decode()
    for family in text_string_to_metric_families(text):
        if family.name.startswith("aoss_"):
            _summarise(family, summary)
    return summary


def _summarise(family: Any, summary: dict[str, Any]) -> None:
    suffix = "_count" if family.type == "histogram" else "_total" if family.type == "counter" else ""
    name = family.name + (suffix if family.type == "counter" else "")
    entry: dict[str, Any] = {"total": 0.0}
    by: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for sample in family.samples:
        if sample.name == family.name + suffix:
            entry["total"] += sample.value
            for label, value in sample.labels.items():
                by[label][value] += sample.value
        elif family.type == "histogram" and sample.name == f"{family.name}_sum":
            entry["sum"] = entry.get("sum", 0.0) + sample.value
    entry["by"] = {label: dict(values) for label, values in by.items()}
    summary[name] = entry


def _seconds(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type] # whatever it is
    except Exception:  # noqa: BLE001 - the execution has ended, however odd the time it took
        return 0.0


def _instruments() -> Instruments:
    return _started().instruments


def _started() -> Pipeline:
    global _pipeline  # noqa: PLW0603 - the functions share what the first call sets up
    if _pipeline is None:
        with _lock:
            if _pipeline is None:
                _pipeline = _start()
    return _pipeline


def _start() -> Pipeline:
    try:
        settings = TelemetrySettings.from_environment(os.environ)
    except SettingsError as error:
        _logger.error("these settings cannot be used, so their defaults are: %s", error)
        settings = TelemetrySettings.from_environment(
            {key: value for key, value in os.environ.items() if not key.startswith("AOSS_")}
        )
    pipeline = Pipeline.start(settings)
    atexit.register(pipeline.shutdown)
    return pipeline
