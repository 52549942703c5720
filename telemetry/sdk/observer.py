"""The callbacks of a provider's observable instruments: run, checked, and their results stored."""

import contextvars
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from opentelemetry.metrics import CallbackOptions

from telemetry.sdk import clock
from telemetry.sdk.cells import GaugeSeries
from telemetry.sdk.exemplars import Sampler, current_context
from telemetry.sdk.merged import DataKind
from telemetry.sdk.observables import ObservableCounter, ObservableGauge, ObservableUpDownCounter
from telemetry.sdk.run import DirectoryRefusedError
from telemetry.sdk.store import Store
from telemetry.sdk.worker import Worker

_logger = logging.getLogger(__name__)

ObservableInstrument = ObservableCounter | ObservableUpDownCounter | ObservableGauge

CALLBACK_SECONDS = 1.0

_Observed = tuple[float, Mapping[str, Any] | None]


class _Pass(threading.Thread):
    """Calls for one instrument after the other; abandoned where one takes too long."""

    def __init__(
        self, left: deque[ObservableInstrument], observe: Callable[[ObservableInstrument], None]
    ) -> None:
        # The context of whoever collects, as without a thread: exemplars of observations take the span of it.
        super().__init__(name="metrics-callback", daemon=True)
        self.current: ObservableInstrument | None = None
        self._begun = time.monotonic()
        self._left = left
        self._observe = observe
        self._context = contextvars.copy_context()
        self._is_abandoned = False

    def run(self) -> None:
        while not self._is_abandoned:
            try:
                instrument = self._left.popleft()
            except IndexError:
                return
            self._begun = time.monotonic()
            self.current = instrument
            self._context.run(self._observe, instrument)

    def ends(self, deadline: float) -> bool:
        """Start, and tell whether it ended before one call took too long."""
        try:
            self.start()
        except RuntimeError:  # at the end of the interpreter, for one
            self.run()
            return True
        while self.is_alive():
            left = min(self._begun + CALLBACK_SECONDS, deadline) - time.monotonic()
            if left <= 0:
                self._is_abandoned = True
                return False
            self.join(left)
        return True


class Observer:
    """Runs all callbacks, one run at a time.

    A callback may raise, record, or create instruments. One that takes longer than CALLBACK_SECONDS is left
    to its own thread, for the others to go on: what it gives is stored when it comes, and until then it is
    not called again.
    """

    def __init__(self, worker: Worker, sampler: Sampler) -> None:
        self.instruments: list[ObservableInstrument] = []
        self._worker = worker
        self._sampler = sampler
        self._running = threading.Lock()
        self._late: list[_Pass] = []
        self._reported: set[tuple[str, str]] = set()

    def forget(self) -> None:
        """Start anew in a forked child."""
        self._running = threading.Lock()
        self._late = []

    def observe(self, timeout_seconds: float) -> bool:
        """Run the callbacks and store what they give; False where not all have ended in the time."""
        deadline = time.monotonic() + timeout_seconds
        if not self._running.acquire(timeout=max(0.0, timeout_seconds)):
            return False
        try:
            self._late = [each for each in self._late if each.is_alive()]
            busy = [each.current for each in self._late]
            left = deque(each for each in self.instruments if each.enabled and each not in busy)
            options = CallbackOptions(timeout_millis=timeout_seconds * 1000)
            while left and time.monotonic() < deadline:
                running = _Pass(left, partial(self._observe, options=options))
                if not running.ends(deadline):
                    self._report("is slow, the others go on without it", running.current)
                    self._late.append(running)
            return not left and not self._late
        finally:
            self._running.release()

    def _observe(self, instrument: ObservableInstrument, options: CallbackOptions) -> None:
        observed: list[_Observed] = []
        for callback in list(instrument.callbacks):
            try:
                for each in callback(options):
                    value = each.value if isinstance(each.value, int | float) else float(each.value)
                    if math.isfinite(value):
                        observed.append((value, each.attributes))
                    else:
                        self._report(f"gave {value}, which is not finite: ignored", instrument)
            except BaseException as problem:  # noqa: BLE001 - SystemExit too would end the thread of the others
                self._report("failed", instrument, problem)
        # Of a slow callback this is when its values came: taken before, they might be too old at once.
        now = clock.time_ns()
        for store in instrument.stores:
            try:
                self._store(store, observed, now)
            except Exception as problem:  # noqa: BLE001 - reported
                self._report("gave what could not be stored", instrument, problem)

    def _report(
        self, message: str, instrument: ObservableInstrument | None, problem: BaseException | None = None
    ) -> None:
        name = "an instrument" if instrument is None else instrument.name
        if (name, message) not in self._reported:
            self._reported.add((name, message))
            _logger.warning("metrics: a callback of %s %s", name, message, exc_info=problem)

    def _store(self, store: Store, observed: list[_Observed], now: int) -> None:
        is_sum = store.definition.aggregation.kind is DataKind.SUM
        values: dict[int, float] = {}
        cells: dict[int, GaugeSeries] = {}
        last: dict[int, _Observed] = {}
        with self._worker.registration.held():
            if self._worker.is_closed or (not observed and not store.cells):
                return
            for value, attributes in observed:
                given = attributes if isinstance(attributes, Mapping) else None
                try:
                    cell = store.cell(given)
                except (OSError, DirectoryRefusedError) as problem:
                    self._worker.drop(store.definition.name, problem)
                    continue
                if not isinstance(cell, GaugeSeries):
                    continue
                key = id(cell)
                cells[key] = cell
                values[key] = values[key] + value if is_sum and key in values else value
                last[key] = value, given
            if store.observed_at is not None:
                # The clock may have been set back: what was observed before must not look newer.
                chunk, index = store.observed_at
                now = max(now, chunk.ints[index] + 1)
            for key, cell in cells.items():
                with store.lock:
                    cell.set(values[key], now)
            if store.observed_at is not None:
                chunk, index = store.observed_at
                # One store: until here the results before are in force, from here those of now.
                chunk.ints[index] = now
        if self._sampler.is_on:
            for key, (value, attributes) in last.items():
                context = current_context()
                if self._sampler.wants(value, attributes, context):
                    store.sample(self._sampler, cells[key], value, attributes, context)
