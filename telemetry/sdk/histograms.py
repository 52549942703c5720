"""Histograms: distributions of amounts."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics._internal.instrument import _MetricsHistogramAdvisory
from opentelemetry.sdk import metrics as sdk
from opentelemetry.util.types import Attributes

from telemetry.sdk.cells import HistogramSeries
from telemetry.sdk.exemplars import current_context
from telemetry.sdk.merged import DataKind
from telemetry.sdk.store import Store
from telemetry.sdk.synchronous import Synchronous

_INFINITY = math.inf


class BoundHistogram:
    """A histogram of one attribute set; safe for concurrent use, and across a fork."""

    __slots__ = ("record",)

    def __init__(self, record: Callable[..., None]) -> None:
        self.record = record
        """Record an amount; a second argument is the Context."""


class Histogram(Synchronous, sdk.Histogram):
    """A distribution; safe for concurrent use. Bind the attribute sets that are known beforehand."""

    _least = 0

    def __init__(self, *identity: Any, advisory: Sequence[float] | None = None) -> None:
        self._set_up(*identity)
        self.advised = advisory
        self._advisory = _MetricsHistogramAdvisory(explicit_bucket_boundaries=advisory)
        self._store: Any = None
        self._bounds: tuple[float, ...] = ()
        self._extremes = True

    def _connect_hot_path(self, store: Store | None) -> None:
        is_explicit = store is not None and store.definition.aggregation.kind is DataKind.HISTOGRAM
        self._store = store if is_explicit else None
        super()._connect_hot_path(self._store)
        if self._store is not None:
            self._bounds = self._store.definition.aggregation.bounds
            self._extremes = self._store.definition.aggregation.record_min_max

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """Record a non-negative, finite amount; never raises."""
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
            store = self._store
            kind = amount.__class__
            if (kind is not float and kind is not int) or not 0 <= amount < _INFINITY:
                raise ValueError
            bucket = cell.buckets + bisect_left(self._bounds, amount)
            sums = cell.sums
            floats = cell.floats
            # No call inside the lock, nor arithmetic of other numbers, which may be written in Python: a
            # signal handler that records there would wait for ever.
            with store.lock:
                if amount < cell.minimum and self._extremes:
                    floats[sums + 2] = amount
                    cell.minimum = amount
                if amount > cell.maximum and self._extremes:
                    floats[sums + 3] = amount
                    cell.maximum = amount
                count = cell.count + 1
                total = cell.total + amount
                floats[sums + (count & 1)] = total
                cell.ints[bucket] += 1
                cell.count = count
                cell.total = total
                committed = True
        except Exception:
            if committed:
                raise  # by a signal handler: to whom it is meant for, and nothing is counted twice
            # New, unusual or wrong.
            self._record(amount, attributes, context)
            return
        if self._samples:
            if context is None:
                context = current_context()
            if context or not self._needs_context:
                self._sample(store, cell, amount, attributes, context)

    def bind(self, attributes: Attributes = None) -> BoundHistogram:
        """Return this histogram for one attribute set, which is looked up once."""
        attributes = self._own(attributes)
        bounds: tuple[float, ...] = ()
        store: Any = None
        cell: Any = None
        lock: Any = None

        def point() -> None:
            nonlocal store, cell, lock, bounds
            store, cell = self._resolve(attributes)
            if isinstance(cell, HistogramSeries):
                lock, bounds = store.lock, self._bounds

        def record(amount: float, context: Context | None = None) -> None:
            committed = False
            try:
                kind = amount.__class__
                if (kind is not float and kind is not int) or not 0 <= amount < _INFINITY:
                    raise ValueError
                bucket = cell.buckets + bisect_left(bounds, amount)
                sums = cell.sums
                floats = cell.floats
                with lock:
                    if amount < cell.minimum and self._extremes:
                        floats[sums + 2] = amount
                        cell.minimum = amount
                    if amount > cell.maximum and self._extremes:
                        floats[sums + 3] = amount
                        cell.maximum = amount
                    count = cell.count + 1
                    total = cell.total + amount
                    floats[sums + (count & 1)] = total
                    cell.ints[bucket] += 1
                    cell.count = count
                    cell.total = total
                    committed = True
            except Exception:
                if committed:
                    raise  # as above
                # Not there yet, wrong, or of a segment that was closed.
                self._record(amount, attributes, context)
                point()
                return
            if self._samples:
                if context is None:
                    context = current_context()
                if context or not self._needs_context:
                    self._sample(store, cell, amount, attributes, context)

        point()
        return BoundHistogram(record)
