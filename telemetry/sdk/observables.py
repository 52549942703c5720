"""Observable instruments: callbacks give their values."""

from collections.abc import Generator, Sequence
from typing import Any

from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackT
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.store import Store
from telemetry.sdk.synchronous import Recording


class _Observable:
    """The part that all observable instruments share."""

    name: str

    def _set_up(  # noqa: PLR0917 - the identity of an instrument
        self,
        name: str,
        unit: str,
        description: str,
        scope: InstrumentationScope,
        shown_name: str,
        callbacks: Sequence[CallbackT] | None,
    ) -> None:
        self.name = name
        self.shown_name = shown_name
        self.unit = unit
        self.description = description
        self.instrumentation_scope = scope
        self.callbacks = [_called(callback) for callback in callbacks or ()]
        self._recording: Recording | None = None

    def connect(self, recording: Recording) -> None:
        """Observe into these stores from now on."""
        self._recording = recording

    @property
    def is_connected(self) -> bool:
        """Whether it has been registered with its provider."""
        return self._recording is not None

    @property
    def enabled(self) -> bool:
        """Whether an observation would be kept."""
        return bool(self.stores)

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that take the observations.

        None where every View drops them or the meter is disabled.
        """
        recording = self._recording
        return recording.stores if recording is not None and recording.is_enabled() else ()


def _called(callback: Any) -> Any:
    """Return a callable for a callback, which may be a generator that is sent the options."""
    if not isinstance(callback, Generator):
        return callback
    next(callback)

    def send(options: api.CallbackOptions) -> Any:
        try:
            return callback.send(options)
        except StopIteration:
            return []

    return send


class ObservableCounter(_Observable, sdk.ObservableCounter):
    """A sum that never falls, read by callbacks."""

    def __init__(self, *identity: Any) -> None:
        self._set_up(*identity)


class ObservableUpDownCounter(_Observable, sdk.ObservableUpDownCounter):
    """A sum that rises and falls, read by callbacks."""

    def __init__(self, *identity: Any) -> None:
        self._set_up(*identity)


class ObservableGauge(_Observable, sdk.ObservableGauge):
    """A current value, read by callbacks."""

    def __init__(self, *identity: Any) -> None:
        self._set_up(*identity)
