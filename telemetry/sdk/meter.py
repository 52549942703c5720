"""Meters: they create instruments, each once, and say where two declarations contradict each other."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackT
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.counters import Counter, UpDownCounter
from telemetry.sdk.gauges import Gauge
from telemetry.sdk.histograms import Histogram
from telemetry.sdk.observables import ObservableCounter, ObservableGauge, ObservableUpDownCounter
from telemetry.sdk.views import valid_bounds

_logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
_LONGEST_UNIT = 63

_Make = Callable[[str, str, str, InstrumentationScope, str], Any]


class InstrumentOwner(Protocol):
    """What a meter needs of its provider."""

    def register(self, instrument: Any, meter: "Meter") -> None:
        """Connect a new instrument to its streams."""


class Meter(api.Meter):
    """A meter of one instrumentation scope; safe for concurrent use.

    A wrong name gives an instrument that drops.
    """

    def __init__(self, scope: InstrumentationScope, owner: InstrumentOwner, *, is_enabled: bool) -> None:
        super().__init__(scope.name, scope.version, scope.schema_url)
        self.scope = scope
        self.is_enabled = is_enabled
        self._owner = owner
        self._lock = threading.RLock()
        self._instruments: dict[tuple[str, str, str, str], Any] = {}
        self._names: dict[str, tuple[str, str, str, str]] = {}

    def forget_locks(self) -> None:
        """Start with a free lock in a forked child."""
        self._lock = threading.RLock()

    @property
    def instruments(self) -> list[Any]:
        """The instruments created so far."""
        return list(self._instruments.values())

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        """Create a counter, or return the one that is there."""
        return self._create("Counter", name, unit, description, Counter) or api.NoOpCounter(str(name))

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        """Create an up-down counter, or return the one that is there."""
        return self._create("UpDownCounter", name, unit, description, UpDownCounter) or api.NoOpUpDownCounter(
            str(name)
        )

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        """Create a histogram, or return the one that is there; of contradicting advice the first wins."""
        advisory = explicit_bucket_boundaries_advisory
        if advisory is not None and not valid_bounds(advisory):
            _logger.warning(
                "metrics: the boundaries advised for %s are not increasing numbers: ignored", name
            )
            advisory = None
        histogram = self._create(
            "Histogram", name, unit, description, lambda *identity: Histogram(*identity, advisory=advisory)
        )
        if histogram is None:
            return api.NoOpHistogram(str(name))
        if histogram.advised != advisory:
            _logger.warning("metrics: %s was created with other boundaries before: they stay", name)
        return histogram  # type: ignore[no-any-return]

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> api._Gauge:
        """Create a gauge, or return the one that is there."""
        return self._create("Gauge", name, unit, description, Gauge) or api.NoOpMeter(self.name).create_gauge(
            str(name)
        )

    def create_observable_counter(
        self,
        name: str,
        callbacks: Sequence[CallbackT] | None = None,
        unit: str = "",
        description: str = "",
    ) -> api.ObservableCounter:
        """Create an observable counter, or return the one that is there."""
        return self._create(
            "ObservableCounter", name, unit, description, _observable(ObservableCounter, callbacks)
        ) or api.NoOpObservableCounter(str(name))

    def create_observable_up_down_counter(
        self,
        name: str,
        callbacks: Sequence[CallbackT] | None = None,
        unit: str = "",
        description: str = "",
    ) -> api.ObservableUpDownCounter:
        """Create an observable up-down counter, or return the one that is there."""
        return self._create(
            "ObservableUpDownCounter",
            name,
            unit,
            description,
            _observable(ObservableUpDownCounter, callbacks),
        ) or api.NoOpObservableUpDownCounter(str(name))

    def create_observable_gauge(
        self,
        name: str,
        callbacks: Sequence[CallbackT] | None = None,
        unit: str = "",
        description: str = "",
    ) -> api.ObservableGauge:
        """Create an observable gauge, or return the one that is there."""
        return self._create(
            "ObservableGauge", name, unit, description, _observable(ObservableGauge, callbacks)
        ) or api.NoOpObservableGauge(str(name))

    def _create(self, kind: str, name: str, unit: str | None, description: str | None, make: _Make) -> Any:
        unit = unit or ""
        description = description or ""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            _logger.error("metrics: %r is no name for an instrument; what is recorded there is dropped", name)
            return None
        if len(unit) > _LONGEST_UNIT or not unit.isascii():
            _logger.error("metrics: %r is no unit; what is recorded in %s is dropped", unit, name)
            return None
        identity = (name.lower(), kind, unit, description)
        with self._lock:
            if (instrument := self._instruments.get(identity)) is not None:
                if not instrument.is_connected:  # this is a signal handler, and its thread is making it
                    self._owner.register(instrument, self)
                if instrument.shown_name != name:
                    _logger.warning(
                        "metrics: %s was created as %s before: that name stays", name, instrument.shown_name
                    )
                return instrument
            other = self._names.setdefault(name.lower(), identity)
            if other != identity:
                _logger.warning(
                    "metrics: %s was created before as %s, unit %r, description %r: both stay, and collide",
                    name,
                    *other[1:],
                )
            instrument = make(name.lower(), unit, description, self.scope, name)
            self._instruments[identity] = instrument
            self._owner.register(instrument, self)
            return instrument


def _observable(make: Callable[..., Any], callbacks: Sequence[CallbackT] | None) -> _Make:
    return lambda *identity: make(*identity, callbacks)
