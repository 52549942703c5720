"""Counters and up-down counters: sums of amounts."""

import math
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk import metrics as sdk
from opentelemetry.util.types import Attributes

from telemetry.sdk.cells import NumberCell
from telemetry.sdk.exemplars import current_context
from telemetry.sdk.store import Store
from telemetry.sdk.synchronous import Synchronous

_INFINITY = math.inf


class Additive(Synchronous):
    """The hot path of counters, whose amounts are added up."""

    _lock: Any = None
    _store: Any = None

    def _connect_hot_path(self, store: Store | None) -> None:
        self._store = store if store is not None and store.definition.is_number else None
        super()._connect_hot_path(self._store)
        self._lock = None if self._store is None else self._store.lock

    def add(
        self,
        amount: int | float,  # noqa: PYI041 - ints and floats take different ways
        attributes: Attributes = None,
        context: Context | None = None,
    ) -> None:
        """Add a finite amount, to a counter a non-negative one; never raises."""
        committed = False
        try:
            if attributes:
                values = attributes.values()
                key = (*attributes, *values)
                cell: Any = self._cells.get(key)
                if cell is None:
                    cell = self._cells[key, tuple(map(type, values))]  # `alias`, without its calls
            else:
                cell = self._cells[()]
            # No call inside the lock: a signal handler that records there would wait for ever.
            if amount.__class__ is int:
                if amount < self._least:
                    raise ValueError
                with self._lock:
                    cell.ints[cell.int_index] += amount
                    committed = True
            elif amount.__class__ is float and self._least <= amount < _INFINITY:
                with self._lock:
                    cell.floats[cell.float_index] += amount
                    committed = True
            else:
                raise ValueError
        except Exception:
            if committed:
                raise  # by a signal handler: to whom it is meant for, and nothing is added twice
            # New, unusual or wrong.
            self._record(amount, attributes, context)
            return
        if self._samples:
            if context is None:
                context = current_context()
            if context or not self._needs_context:
                self._sample(self._store, cell, amount, attributes, context)

    def bind(self, attributes: Attributes = None) -> "BoundCounter":
        """Return this counter for one attribute set, which is looked up once; its `add` costs least."""
        attributes = self._own(attributes)
        least = self._least
        lock: Any = None
        ints: Any = None
        floats: Any = None
        int_index = float_index = 0
        store: Any = None
        cell: Any = None
        samples = self._samples
        needs_context = self._needs_context

        def point() -> None:
            nonlocal lock, ints, floats, int_index, float_index, store, cell
            store, cell = self._resolve(attributes)
            if isinstance(cell, NumberCell):
                lock = store.lock
                ints, int_index = cell.ints, cell.int_index
                floats, float_index = cell.floats, cell.float_index

        def add(amount: int | float, context: Context | None = None) -> None:  # noqa: PYI041 - as above
            nonlocal samples, needs_context
            committed = False
            try:
                if amount.__class__ is int and amount >= least:
                    with lock:
                        ints[int_index] += amount
                        committed = True
                elif amount.__class__ is float and least <= amount < _INFINITY:
                    with lock:
                        floats[float_index] += amount
                        committed = True
                else:
                    raise ValueError
            except Exception:
                if committed:
                    raise  # as above
                # Not there yet, full, wrong, or of a segment that was closed.
                self._record(amount, attributes, context)
                samples, needs_context = self._samples, self._needs_context
                point()
                return
            if samples:
                if context is None:
                    context = current_context()
                if context or not needs_context:
                    self._sample(store, cell, amount, attributes, context)

        point()
        return BoundCounter(add)


class BoundCounter:
    """A counter or up-down counter of one attribute set; safe for concurrent use, and across a fork."""

    __slots__ = ("add",)

    def __init__(self, add: Callable[..., None]) -> None:
        self.add = add
        """Add an amount; a second argument is the Context."""


class Counter(Additive, sdk.Counter):
    """A sum that never falls; safe for concurrent use. Bind the attribute sets that are known beforehand."""

    _least = 0

    def __init__(self, *identity: Any) -> None:
        self._set_up(*identity)


class UpDownCounter(Additive, sdk.UpDownCounter):
    """A sum that rises and falls; safe for concurrent use. A +1 and its -1 must come from one process."""

    def __init__(self, *identity: Any) -> None:
        self._set_up(*identity)
