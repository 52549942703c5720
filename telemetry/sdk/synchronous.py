"""What all synchronous instruments share: identity, and the path of every measurement that is not hot.

Instruments are subclasses of the official ones, since Views and other code test for those.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes

from telemetry.sdk.exemplars import Sampler, current_context
from telemetry.sdk.store import Cell, Store

_logger = logging.getLogger(__name__)

_INFINITY = math.inf
_NO_CELLS: dict[Any, Cell] = {}


class Recording:
    """What an instrument needs to record: its stores, the sampler, and whether its meter is enabled."""

    def __init__(self, stores: Sequence[Store], sampler: Sampler, is_enabled: Callable[[], bool]) -> None:
        self.stores = tuple(stores)
        self.sampler = sampler
        self.is_enabled = is_enabled


class Synchronous:
    """The part that all synchronous instruments share: identity, and the path for whatever is not hot."""

    name: str
    unit: str
    description: str
    _least: int = -(1 << 63)  # an int: comparing with a float costs more

    def _set_up(
        self, name: str, unit: str, description: str, scope: InstrumentationScope, shown_name: str
    ) -> None:
        self.name = name
        self.shown_name = shown_name
        self.unit = unit
        self.description = description
        self.instrumentation_scope = scope
        self._cells = _NO_CELLS
        # A class attribute that is read through an instance costs more, at each measurement.
        self._least = type(self)._least  # noqa: SLF001 - its own
        self._recording: Recording | None = None
        self._samples = False
        self._needs_context = True

    def connect(self, recording: Recording) -> None:
        """Record into these stores from now on."""
        self._recording = recording
        stores = recording.stores
        self._connect_hot_path(stores[0] if len(stores) == 1 and recording.is_enabled() else None)
        self._samples = recording.sampler.is_on
        self._needs_context = recording.sampler.needs_context

    def _connect_hot_path(self, store: Store | None) -> None:
        self._cells = _NO_CELLS if store is None else store.cells

    @property
    def is_connected(self) -> bool:
        """Whether it has been registered with its provider."""
        return self._recording is not None

    @property
    def enabled(self) -> bool:
        """Whether a measurement would be kept: false when every View drops it or the meter is disabled."""
        recording = self._recording
        return recording is not None and bool(recording.stores) and recording.is_enabled()

    def _record(self, amount: Any, attributes: Attributes, context: Context | None) -> None:
        """Record a measurement of any kind; never raises."""
        try:
            recording = self._recording
            if recording is None or not recording.stores or not recording.is_enabled():
                return
            checked = self._checked(amount)
            if checked is None:
                return
            given: Any = attributes
            if given is not None and not isinstance(given, Mapping):
                _logger.warning(
                    "Invalid type %s for attributes of %s. Expected a Mapping or None.",
                    type(attributes),
                    self.name,
                )
                attributes = None
            elif attributes:
                # A copy: it is gone through several times, perhaps later, and may be changed meanwhile.
                attributes = dict(attributes)
            for store in recording.stores:
                cell = store.record(checked, attributes)
                if cell is not None and self._samples:
                    self._sample(store, cell, checked, attributes, context)
        except Exception:
            _logger.exception("metrics: a measurement of %s could not be recorded", self.name)

    def _checked(self, amount: Any) -> float | None:
        if not isinstance(amount, int | float):
            if not isinstance(amount, Real) and not hasattr(amount, "__float__"):
                _logger.warning("Amount %r is not a number on %s, ignoring measurement.", amount, self.name)
                return None
            amount = float(amount)
        if not math.isfinite(amount):
            _logger.warning("Amount %s is not finite on %s, ignoring measurement.", amount, self.name)
            return None
        if amount < 0 == self._least:
            _logger.warning("Amount must be non-negative on %s.", self.name)
            return None
        return int(amount) if isinstance(amount, int) else float(amount)

    def _sample(
        self, store: Store, cell: Cell, amount: float, attributes: Attributes, context: Context | None
    ) -> None:
        """Offer a measurement as an exemplar, after it was counted; never raises."""
        try:
            recording = self._recording
            context = current_context() if context is None else context
            if recording is None or not recording.sampler.wants(amount, attributes, context):
                return
            store.sample(recording.sampler, cell, amount, attributes, context)
        except Exception:
            _logger.exception("metrics: an exemplar of %s could not be kept", self.name)

    def _resolve(self, attributes: Attributes) -> tuple[Store, Cell] | tuple[None, None]:
        """Return the one store and its cell, for a bound instrument; None where there is not just one."""
        recording = self._recording
        if recording is None or len(recording.stores) != 1 or not recording.is_enabled():
            return None, None
        store = recording.stores[0]
        try:
            cell = store.bind(attributes)
        except Exception:
            _logger.exception("metrics: %s cannot be bound to these attributes", self.name)
            return None, None
        return (None, None) if cell is None else (store, cell)

    def _own(self, attributes: Attributes) -> Attributes:
        """Return a bound instrument's own copy of its attributes; never raises."""
        if attributes is None:
            return None
        given: Any = attributes
        if isinstance(given, Mapping):
            try:
                return dict(attributes)
            except Exception:
                _logger.exception("metrics: %s cannot be bound to these attributes", self.name)
                return None
        _logger.warning(
            "Invalid type %s for attributes of %s. Expected a Mapping or None.", type(given), self.name
        )
        return None
