"""What one measurement costs: nanoseconds of a call as users write it, and of one bound beforehand."""

import tempfile
import timeit
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks.results import Row, row
from benchmarks.subject import Answer, Subject

GENERATIONS = 3
ROUNDS = 25
SECONDS = 0.005

# The attributes are written in the call, as in an application: building them is part of what a user pays.
_TEXTS = '{"method": "GET", "route": "/items"}'
_NUMBER = '{"route": "/items", "status": 200}'
_CALLS = {
    "ours": {
        "counter": f"counter.add(1, {_TEXTS})",
        "bound": "bound.add(1)",
        "histogram": f"histogram.record(0.25, {_TEXTS})",
        "bound histogram": "bound_histogram.record(0.25)",
        "int": f"numbered.add(1, {_NUMBER})",
    },
    "opentelemetry-sdk": {
        "counter": f"counter.add(1, {_TEXTS})",
        "histogram": f"histogram.record(0.25, {_TEXTS})",
        "int": f"numbered.add(1, {_NUMBER})",
    },
    "prometheus_client": {
        "counter": 'counter.labels(method="GET", route="/items").inc()',
        "bound": "bound.inc()",
        "histogram": 'histogram.labels(method="GET", route="/items").observe(0.25)',
        "bound histogram": "bound_histogram.observe(0.25)",
        "int": 'numbered.labels(route="/items", status=200).inc()',
    },
}
_CALLS["prometheus_client, multiprocess"] = _CALLS["prometheus_client"]


def rows() -> list[Row]:
    """Measure every call of every subject in turn, in fresh processes several times."""
    measured: dict[str, dict[str, list[float]]] = {}
    for _ in range(GENERATIONS):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            multiprocess = {"PROMETHEUS_MULTIPROC_DIR": folder}
            subjects = {
                name: stack.enter_context(
                    Subject(
                        f"{__name__}:subject",
                        name,
                        environment=multiprocess if name.endswith("multiprocess") else None,
                    )
                )
                for name in _CALLS
            }
            for _ in range(ROUNDS):
                for call in _CALLS["ours"]:
                    for name, subject in subjects.items():
                        if call in _CALLS[name]:
                            figure = subject.ask("measure", call)
                            measured.setdefault(call, {}).setdefault(name, []).append(figure)
    otel, prometheus, multi = list(_CALLS)[1:]
    return [
        row(
            "counter +1, two string attributes",
            "ns",
            measured["counter"],
            {otel: 0.15, prometheus: 0.5, multi: None},
        ),
        row("counter +1, bound", "ns", measured["bound"], {prometheus: 1.1, multi: 0.5}),
        row(
            "histogram, two string attributes",
            "ns",
            measured["histogram"],
            {otel: 0.2, prometheus: 0.6, multi: None},
        ),
        row("histogram, bound", "ns", measured["bound histogram"], {prometheus: None, multi: None}),
        row(
            "counter +1, one of two attributes an int",
            "ns",
            measured["int"],
            {otel: None, prometheus: None, multi: None},
        ),
    ]


def subject(name: str) -> Mapping[str, Answer]:
    """Return the functions of one subject, called in its process."""
    maker: Callable[[], tuple[dict[str, Any], Callable[[], None]]]
    maker = {"ours": _ours, "opentelemetry-sdk": _opentelemetry}.get(name, _prometheus)
    names, close = maker()
    timers = {call: timeit.Timer(text, globals=names) for call, text in _CALLS[name].items()}
    counts = {}
    for call, timer in timers.items():
        timer.timeit(2000)  # the interpreter specialises, the first series is made
        counts[call] = max(1, int(SECONDS / (timer.timeit(2000) / 2000)))

    def measure(call: str) -> float:
        return timers[call].timeit(counts[call]) / counts[call] * 1e9

    return {"measure": measure, "close": close}


def _ours() -> tuple[dict[str, Any], Callable[[], None]]:
    from telemetry.sdk import MeterProvider  # noqa: PLC0415 - imported in the process that uses it

    provider = MeterProvider()
    return _instruments(provider), provider.shutdown


def _opentelemetry() -> tuple[dict[str, Any], Callable[[], None]]:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - as above
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above

    provider = MeterProvider(metric_readers=[PrometheusMetricReader()])
    return _instruments(provider), provider.shutdown


def _instruments(provider: Any) -> dict[str, Any]:
    meter = provider.get_meter("benchmarks")
    names = {
        "counter": meter.create_counter("requests"),
        "numbered": meter.create_counter("answers"),
        "histogram": meter.create_histogram("duration"),
    }
    if hasattr(names["counter"], "bind"):
        attributes = {"method": "GET", "route": "/items"}
        names["bound"] = names["counter"].bind(attributes)
        names["bound_histogram"] = names["histogram"].bind(attributes)
    return names


def _prometheus() -> tuple[dict[str, Any], Callable[[], None]]:
    from prometheus_client import CollectorRegistry, Counter, Histogram  # noqa: PLC0415 - as above

    registry = CollectorRegistry()
    counter = Counter("requests", "", ["method", "route"], registry=registry)
    histogram = Histogram("duration", "", ["method", "route"], registry=registry)
    return {
        "counter": counter,
        "numbered": Counter("answers", "", ["route", "status"], registry=registry),
        "histogram": histogram,
        "bound": counter.labels(method="GET", route="/items"),
        "bound_histogram": histogram.labels(method="GET", route="/items"),
    }, lambda: None
