"""Puts a program through a MeterProvider, at a clock that only the program moves."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk import metrics as official
from opentelemetry.sdk.metrics import view
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.sdk import clock
from telemetry.sdk.housekeeping import Duty
from tests.conformance import program as spec

EPOCH = 1_700_000_000_000_000_000
SECOND = 1_000_000_000

# Called with the keywords of the official MeterProvider.
ProviderFactory = Callable[..., Any]
# What a reader was given, or what its collection raised.
Collected = MetricsData | Exception | None

_TYPES: dict[str, Any] = {
    "counter": official.Counter,
    "up_down_counter": official.UpDownCounter,
    "histogram": official.Histogram,
    "gauge": official._Gauge,
    "observable_counter": official.ObservableCounter,
    "observable_up_down_counter": official.ObservableUpDownCounter,
    "observable_gauge": official.ObservableGauge,
}
_AGGREGATIONS: dict[str, Callable[..., view.Aggregation]] = {
    "default": view.DefaultAggregation,
    "drop": view.DropAggregation,
    "sum": view.SumAggregation,
    "last_value": view.LastValueAggregation,
    "explicit": view.ExplicitBucketHistogramAggregation,
    "exponential": view.ExponentialBucketHistogramAggregation,
}
_FILTERS: dict[str, Callable[[], official.ExemplarFilter]] = {
    "always_on": official.AlwaysOnExemplarFilter,
    "always_off": official.AlwaysOffExemplarFilter,
    "trace_based": official.TraceBasedExemplarFilter,
}


class Clock:
    """The time that both SDKs are shown, in Unix nanoseconds."""

    def __init__(self) -> None:
        self.now = EPOCH

    def time_ns(self) -> int:
        """Return the instant of the current step."""
        return self.now


@contextmanager
def stopped_clock() -> Iterator[Clock]:
    """Show both SDKs a clock that stands still until it is set, and let ours do nothing by the real one."""
    stopped = Clock()
    patches: list[Any] = [
        patch.object(clock, "time_ns", stopped.time_ns),
        # It would run the callbacks at instants of its own.
        patch.object(Duty, "run"),
    ]
    for name, module in sorted(sys.modules.items()):
        # The official modules import the function, each for itself.
        if name.startswith("opentelemetry.sdk.metrics._internal") and hasattr(module, "time_ns"):
            patches.append(patch.object(module, "time_ns", stopped.time_ns))
    for each in patches:
        each.start()
    try:
        yield stopped
    finally:
        for each in patches:
            each.stop()


def run(program: spec.Program, make_provider: ProviderFactory) -> list[Collected]:
    """Run a program and return what each of its collections gave, in order."""
    with stopped_clock() as stopped:
        readers = [_reader(each) for each in program.readers]
        provider = make_provider(
            metric_readers=readers,
            resource=Resource({"service.name": "conformance"}),
            exemplar_filter=_FILTERS[program.exemplar_filter](),
            views=[_view(each) for each in program.views],
            shutdown_on_exit=False,
        )
        instruments: dict[int, Any] = {}
        instants = _Instants()
        collected: list[Collected] = []
        try:
            for step in program.steps:
                stopped.now += SECOND
                if isinstance(step, spec.Collect):
                    instants.number += 1
                    try:
                        collected.append(readers[step.reader].get_metrics_data())
                    except Exception as problem:  # noqa: BLE001 - compared
                        collected.append(problem)
                    continue
                if step.instrument not in instruments:
                    declared = program.instruments[step.instrument]
                    instruments[step.instrument] = _create(declared, provider, instants)
                call = _recording_call(instruments[step.instrument])
                if call is not None:
                    call(step.value, step.attributes)
        finally:
            provider.shutdown()
        return collected


class _Instants:
    """Which collection this is: callbacks report by it, however often they are called."""

    number = 0


def _reader(declared: spec.ReaderSpec) -> InMemoryMetricReader:
    return InMemoryMetricReader(
        preferred_temporality={_TYPES[kind]: AggregationTemporality.DELTA for kind in declared.delta_kinds},
        preferred_aggregation={
            _TYPES[kind]: _aggregation(each) for kind, each in declared.aggregations.items()
        },
        cardinality_limits={_TYPES[kind]: limit for kind, limit in declared.limits.items()},
    )


def _view(declared: spec.ViewSpec) -> view.View:
    return view.View(
        instrument_type=None if declared.kind is None else _TYPES[declared.kind],
        aggregation=None if declared.aggregation is None else _aggregation(declared.aggregation),
        **declared.arguments,
    )


def _aggregation(declared: spec.AggregationSpec) -> view.Aggregation:
    name, arguments = declared
    return _AGGREGATIONS[name](*arguments)


def _create(declared: spec.Instrument, provider: MeterProvider, instants: _Instants) -> Any:
    scope = declared.scope
    meter = provider.get_meter(scope.name, scope.version, scope.schema_url, scope.attributes)
    create = getattr(meter, f"create_{declared.kind}")
    identity = {"name": declared.name, "unit": declared.unit, "description": declared.description}
    if declared.kind in spec.OBSERVABLE:
        return create(**identity, callbacks=[_callback(each, instants) for each in declared.callbacks])
    if declared.kind == "histogram":
        return create(**identity, explicit_bucket_boundaries_advisory=declared.bounds)
    return create(**identity)


def _recording_call(instrument: Any) -> Callable[..., None] | None:
    for name in ("add", "record", "set"):
        call: Callable[..., None] | None = getattr(instrument, name, None)
        if call is not None:
            return call
    return None


def _callback(declared: spec.Callback, instants: _Instants) -> Any:
    def report(_: CallbackOptions) -> Iterable[Observation]:
        for value, attributes in declared.reports[instants.number % len(declared.reports)]:
            yield Observation(value, attributes)
        if declared.raises:
            raise RuntimeError("a callback that fails")

    def generator() -> Generator[Iterable[Observation], CallbackOptions, None]:
        options = yield []
        while True:
            options = yield list(report(options))

    if declared.is_generator and not declared.raises:
        return generator()
    return report
