"""The MeterProvider over shared memory.

The official one's interface, and one set of numbers for all workers.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry import metrics as api
from opentelemetry.sdk.environment_variables import OTEL_METRICS_EXEMPLAR_FILTER, OTEL_SDK_DISABLED
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes

from telemetry.sdk import clock, fork
from telemetry.sdk.archive import Folder
from telemetry.sdk.exemplars import ExemplarPool, Sampler
from telemetry.sdk.hooks import FoldHook, Target, tell_dead_run
from telemetry.sdk.housekeeping import INTERVAL_SECONDS, Duty
from telemetry.sdk.merged import Merged
from telemetry.sdk.meter import Meter
from telemetry.sdk.notes import Notes
from telemetry.sdk.observer import Observer
from telemetry.sdk.readers import Readers
from telemetry.sdk.reading import PullReader
from telemetry.sdk.records import OBSERVE_INTERVAL_SECONDS
from telemetry.sdk.reservoirs import Reservoirs
from telemetry.sdk.rundir import RunDirectory
from telemetry.sdk.statistics import Statistics
from telemetry.sdk.store import Store
from telemetry.sdk.synchronous import Recording
from telemetry.sdk.views import definitions
from telemetry.sdk.worker import Worker, live_slots

_logger = logging.getLogger(__name__)

_FILTERS: dict[str, type[ExemplarFilter]] = {
    "trace_based": TraceBasedExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
}


class MeterProvider(api.MeterProvider):
    """A drop-in for `opentelemetry.sdk.metrics.MeterProvider`, right under any number of processes.

    Every process of a run records into a segment of its own, and every reader shows what all recorded, also
    those that have died. `directory` is where; without it the processes of a run find each other. Safe for
    concurrent use, and across forks. Raises DirectoryRefusedError for a directory that is not to be trusted.
    """

    def __init__(
        self,
        metric_readers: Sequence[MetricReader] = (),
        resource: Resource | None = None,
        exemplar_filter: ExemplarFilter | None = None,
        shutdown_on_exit: bool = True,  # noqa: FBT001, FBT002 - as the official one
        views: Sequence[View] = (),
        *,
        directory: str | os.PathLike[str] | None = None,
        _meter_configurator: Callable[[InstrumentationScope], Any] | None = None,
    ) -> None:
        self._resource = Resource.create({}) if resource is None else resource
        self._views = tuple(views)
        self._meter_configurator = _meter_configurator
        self._disabled = os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"
        self._run = RunDirectory(None if directory is None else Path(directory), self._resource)
        self._worker = Worker(self._open_directory, self._start_duties)
        self.notes = Notes(self._worker)
        self._exemplars = ExemplarPool(self._worker)
        self._sampler = Sampler(exemplar_filter or _default_filter(), self._exemplars)
        self._observer = Observer(self._worker, self._sampler)
        self._lock = threading.RLock()
        self._meters: dict[InstrumentationScope, Meter] = {}
        self._stores: dict[bytes, Store] = {}
        self._readers = Readers(self._run, self._worker, self.observe)
        self._duties: list[Duty] = []
        self._callbacks: Duty | None = None
        self._fold_hooks: list[FoldHook] = []
        self._targets: dict[int, list[Target]] = {}
        self._folder = Folder(self._run.path, self._fold_hooks, self._targets_of)
        self._folded_workers = 0
        self._is_shut_down = False
        readers = list(metric_readers)
        if not any(isinstance(reader, PullReader) for reader in readers):
            readers.insert(0, PullReader())
        for reader in readers:
            self._readers.attach(reader, self)
        self._reconnect()  # readers may measure themselves, and had instruments before the next was attached
        fork.register(self)
        self._at_exit = self.shutdown if shutdown_on_exit else None
        if self._at_exit is not None:
            atexit.register(self._at_exit)

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> api.Meter:
        """Return the meter of a scope, which drops where the SDK is disabled or was shut down."""
        if self._disabled:
            return api.NoOpMeter(name, version=version, schema_url=schema_url)
        if self._is_shut_down:
            _logger.warning("metrics: a provider that was shut down gives no working meter")
            return api.NoOpMeter(name, version=version, schema_url=schema_url)
        if not name:
            _logger.warning("metrics: a meter should have a name, got %r", name)
        scope = InstrumentationScope(name or "", version, schema_url, attributes)
        with self._lock:
            meter = self._meters.get(scope)
            if meter is None:
                meter = self._meters[scope] = Meter(scope, self, is_enabled=self._is_enabled(scope))
            return meter

    def register(self, instrument: Any, meter: Meter) -> None:
        """Connect a new instrument to its streams; meters call this."""
        with self._lock:
            self._connect(instrument, meter)
            if hasattr(instrument, "callbacks") and instrument not in self._observer.instruments:
                self._observer.instruments.append(instrument)
                if self._callbacks is not None:
                    self._callbacks.wake()

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Attach a reader, which then shows everything that was measured with its aggregations before."""
        with self._lock:
            if self._readers.attach(metric_reader, self):
                self._reconnect()

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Detach a reader and shut it down."""
        with self._lock:
            was_attached = self._readers.detach(metric_reader)
        if was_attached:
            metric_reader.shutdown()

    def add_fold_hook(self, hook: FoldHook) -> None:
        """Have a hook asked for each dead worker what is to be counted for it when it is folded.

        What the hook returns is committed with the fold. Add it before anything is measured: it is shown the
        workers of dead runs too, whose corrections are dropped, as all of their numbers are.
        """
        self._fold_hooks.append(hook)

    @property
    def directory(self) -> Path:
        """Where the workers of this run keep their files, which is there once something was recorded."""
        return self._run.path

    def observe(self, timeout_seconds: float = 10.0) -> bool:
        """Run this worker's callbacks; False where not all of them have ended in the time.

        One that takes longer than a second is left behind, and what it gives is stored when it comes.
        """
        have_ended = self._observer.observe(timeout_seconds)
        for store in list(self._stores.values()):
            if store.reservoirs is not None:
                store.reservoirs.publish(self._exemplars)
        return have_ended

    def merge(self) -> Generator[None, None, Merged]:
        """Merge what all workers recorded, in steps between which other work can be done."""
        now = clock.time_ns()
        streams = [] if self._is_shut_down else (yield from self._readers.merge.stepwise(self._readers.pull))
        return Merged(self._run.resource(), now, streams)

    def statistics(self) -> Statistics:
        """Return what this worker knows of the pipeline itself."""
        return Statistics(
            overflowed_sets=sum(store.overflowed_sets for store in list(self._stores.values())),
            dropped_series=self._worker.dropped_series,
            skipped_segments=self._readers.merge.skipped_segments,
            live_workers=len(live_slots(self._run.path)),
            folded_workers=self._folded_workers,
        )

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Collect for every reader now; raises an Exception that names those that failed."""
        return self._readers.force_flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Let every reader collect a last time and stop; what was recorded stays for the other workers."""
        with self._lock:
            if self._is_shut_down:
                _logger.warning("shutdown can only be called once")
                return
            self._is_shut_down = True
        deadline = time.monotonic() + timeout_millis / 1000
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None
        try:
            self._readers.shutdown(timeout_millis / 1000)
        finally:
            for duty in self._duties:
                duty.stop(deadline - time.monotonic())
            self._duties.clear()
            self._worker.close()
            self._readers.close()
            self._run.remove_if_last()

    def after_fork_in_child(self) -> None:
        """Give up what belongs to the parent; see `telemetry.sdk.fork`."""
        self._lock = threading.RLock()
        self._duties = []
        self._callbacks = None
        self._worker.forget()
        self._observer.forget()
        for meter in self._meters.values():
            meter.forget_locks()
        for store in self._stores.values():
            store.forget()
        self._readers.forget()

    def _set_meter_configurator(self, *, meter_configurator: Callable[[InstrumentationScope], Any]) -> None:
        with self._lock:
            self._meter_configurator = meter_configurator
            for scope, meter in self._meters.items():
                meter.is_enabled = self._is_enabled(scope)
            self._reconnect()

    def _is_enabled(self, scope: InstrumentationScope) -> bool:
        if self._meter_configurator is None:
            return True
        try:
            return bool(self._meter_configurator(scope).is_enabled)
        except Exception:
            _logger.exception("metrics: the meter configurator failed for %s; it is enabled", scope.name)
            return True

    def _reconnect(self) -> None:
        for meter in self._meters.values():
            for instrument in meter.instruments:
                self._connect(instrument, meter)

    def _connect(self, instrument: Any, meter: Meter) -> None:
        targets = []
        for definition in definitions(instrument, self._views, self._readers.configs):
            text = definition.to_text()
            store = self._stores.get(text)
            shown = instrument.shown_name if definition.name == instrument.name else definition.name
            if store is None:
                view = None if definition.view is None else self._views[definition.view]
                reservoirs = Reservoirs.of(view, definition.aggregation, self._worker)
                store = self._stores[text] = Store(definition, shown, self._worker, reservoirs)
            targets.append(Target(store, shown))
        self._targets[id(instrument)] = targets
        stores = [target.store for target in targets]
        instrument.connect(Recording(stores, self._sampler, lambda: meter.is_enabled))

    def _targets_of(self, instrument: object) -> list[Target]:
        return self._targets.get(id(instrument), [])

    def _open_directory(self) -> Path:
        return self._run.open(lambda dead: tell_dead_run(dead, self._fold_hooks, self._targets_of))

    def _start_duties(self) -> None:
        self._callbacks = Duty("callbacks", OBSERVE_INTERVAL_SECONDS, self.observe)
        self._duties = [
            Duty("worker", INTERVAL_SECONDS, self._keep_house),
            self._callbacks,
            # Apart from the heartbeat: an exporter may hang.
            Duty("export", INTERVAL_SECONDS, self._readers.take_over),
            # Apart from the others: it takes its time, and so may the hooks.
            Duty("folding", INTERVAL_SECONDS, self._fold),
        ]
        for duty in self._duties:
            duty.start()

    def _fold(self) -> None:
        self._folded_workers += self._folder.fold()

    def _keep_house(self) -> None:
        segment = self._worker.segment
        if segment is not None:
            segment.heartbeat(clock.time_ns())


def _default_filter() -> ExemplarFilter:
    name = os.environ.get(OTEL_METRICS_EXEMPLAR_FILTER, "").strip().lower() or "trace_based"
    if name not in _FILTERS:
        _logger.warning("metrics: %s=%r is unknown: ignored", OTEL_METRICS_EXEMPLAR_FILTER, name)
        name = "trace_based"
    return _FILTERS[name]()
