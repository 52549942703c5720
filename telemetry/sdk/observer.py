"""The callbacks of a provider's observable instruments: run, checked, and their results stored."""

import logging
import math
import threading
from collections.abc import Mapping
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

_Observed = tuple[float, Mapping[str, Any] | None]


class Observer:
    """Runs all callbacks, one run at a time.

    A callback may take long, raise, record, or create instruments.
    """

    def __init__(self, worker: Worker, sampler: Sampler) -> None:
        self.instruments: list[ObservableInstrument] = []
        self._worker = worker
        self._sampler = sampler
        self._running = threading.Lock()

    def forget(self) -> None:
        """Start anew in a forked child."""
        self._running = threading.Lock()

    def observe(self, timeout_seconds: float) -> bool:
        """Run the callbacks and store what they give.

        False where an earlier run has not ended in the time.
        """
        if not self._running.acquire(timeout=timeout_seconds):
            return False
        try:
            options = CallbackOptions(timeout_millis=timeout_seconds * 1000)
            for instrument in list(self.instruments):
                if instrument.enabled:
                    self._observe(instrument, options)
        finally:
            self._running.release()
        return True

    def _observe(self, instrument: ObservableInstrument, options: CallbackOptions) -> None:
        now = clock.time_ns()
        observed: list[_Observed] = []
        for callback in list(instrument.callbacks):
            try:
                for each in callback(options):
                    if math.isfinite(each.value):
                        observed.append((each.value, each.attributes))
                    else:
                        _logger.warning(
                            "metrics: a callback of %s gave %s, which is not finite: ignored",
                            instrument.name,
                            each.value,
                        )
            except Exception:
                _logger.exception("metrics: a callback of %s failed", instrument.name)
        for store in instrument.stores:
            try:
                self._store(store, observed, now)
            except Exception:
                _logger.exception("metrics: what was observed of %s could not be stored", instrument.name)

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
