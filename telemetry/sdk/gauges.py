"""Gauges: the value that was set last."""

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk import metrics as sdk
from opentelemetry.util.types import Attributes

from telemetry.sdk.synchronous import Synchronous


class BoundGauge:
    """A gauge of one attribute set; safe for concurrent use, and across a fork."""

    __slots__ = ("set",)

    def __init__(self, set_: Callable[..., None]) -> None:
        self.set = set_
        """Set the value; a second argument is the Context."""


class Gauge(Synchronous, sdk._Gauge):  # noqa: SLF001 - exported under this name only
    """The latest value, over all processes; safe for concurrent use."""

    def __init__(self, *identity: Any) -> None:
        self._set_up(*identity)

    def set(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """Set the value to a finite amount; never raises."""
        self._record(amount, attributes, context)

    def bind(self, attributes: Attributes = None) -> BoundGauge:
        """Return this gauge for one attribute set."""
        attributes = self._own(attributes)
        return BoundGauge(lambda amount, context=None: self._record(amount, attributes, context))
