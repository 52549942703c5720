"""Exemplar reservoirs that a View brings: one for each series, in the process that measures."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import Exemplar, ExemplarReservoir
from opentelemetry.sdk.metrics._internal import aggregation as official
from opentelemetry.sdk.metrics._internal.view import _default_reservoir_factory
from opentelemetry.sdk.metrics.view import View
from opentelemetry.util.types import AnyValue

from telemetry.sdk import clock
from telemetry.sdk.definition import AggregationSpec
from telemetry.sdk.exemplars import ExemplarPool
from telemetry.sdk.merged import DataKind
from telemetry.sdk.worker import Worker

_logger = logging.getLogger(__name__)

_OFFICIAL: dict[DataKind, Any] = {
    DataKind.SUM: official._SumAggregation,  # noqa: SLF001 - what a View's factory is asked with
    DataKind.GAUGE: official._LastValueAggregation,  # noqa: SLF001
    DataKind.HISTOGRAM: official._ExplicitBucketHistogramAggregation,  # noqa: SLF001
    DataKind.EXPONENTIAL_HISTOGRAM: official._ExponentialBucketHistogramAggregation,  # noqa: SLF001
}
_MOST_EXPONENTIAL = 20


class Numbered(Protocol):
    """What is written of one series; its number may change when it gets a second cell."""

    series: int


class Reservoirs:
    """The reservoirs of one stream. `publish` puts into the segment what they collected, for every reader.

    That happens at each run of the callbacks, so before each collection of this process. One that raises is
    logged once, and exemplars are missing.
    """

    def __init__(self, make: Callable[[], ExemplarReservoir], worker: Worker) -> None:
        self._make = make
        self._worker = worker
        self._epoch = -1
        self._thread = threading.local()
        self._by_series: dict[Numbered, tuple[ExemplarReservoir, Mapping[str, AnyValue]]] = {}
        self._has_failed = False

    @classmethod
    def of(cls, view: View | None, aggregation: AggregationSpec, worker: Worker) -> "Reservoirs | None":
        """Return those that a View asks for; None where the standard ones serve."""
        factory = None if view is None else view._exemplar_reservoir_factory  # noqa: SLF001
        if factory is None or factory is _default_reservoir_factory:
            return None
        given: dict[str, Any] = {}
        if aggregation.kind is DataKind.HISTOGRAM:
            given = {"boundaries": aggregation.bounds}
        elif aggregation.kind is DataKind.EXPONENTIAL_HISTOGRAM:
            given = {"size": min(_MOST_EXPONENTIAL, aggregation.max_size)}
        try:
            builder: Callable[..., ExemplarReservoir] = factory(_OFFICIAL[aggregation.kind])
        except Exception:
            _logger.exception("metrics: a View's exemplar_reservoir_factory failed; the standard ones serve")
            return None
        return cls(partial(builder, **given), worker)

    def offer(
        self,
        series: Numbered,
        amount: float,
        attributes: Mapping[str, AnyValue] | None,
        kept: Mapping[str, AnyValue],
        context: Context,
    ) -> None:
        """Offer a measurement that the filter let through to the reservoir of its series."""
        if getattr(self._thread, "is_inside", False):
            return  # in a signal handler: the reservoir's lock may be taken, so an exemplar is missing
        self._thread.is_inside = True
        try:
            self._enter_segment()
            found = self._by_series.get(series)
            if found is None:
                # Without a lock, which a fork might leave locked: of two made at once, one stays.
                found = self._by_series.setdefault(series, (self._make(), kept))
            found[0].offer(amount, clock.time_ns(), attributes, context)
        except Exception as problem:  # noqa: BLE001 - reported
            self._report(problem)
        finally:
            self._thread.is_inside = False

    def publish(self, pool: ExemplarPool) -> None:
        """Collect from every reservoir."""
        self._enter_segment()
        for series, (reservoir, kept) in list(self._by_series.items()):
            self._thread.is_inside = True
            try:
                exemplars: list[Exemplar] = reservoir.collect(kept)
                for place, each in enumerate(exemplars):
                    pool.put(
                        series.series,
                        -2 - place,  # one of several places, whichever the bucket
                        each.value,
                        each.trace_id or 0,
                        each.span_id or 0,
                        each.filtered_attributes or {},
                        each.time_unix_nano,
                    )
            except Exception as problem:  # noqa: BLE001 - reported
                self._report(problem)
            finally:
                self._thread.is_inside = False

    def _enter_segment(self) -> None:
        """Start anew in another segment, as in a forked child."""
        if self._epoch != self._worker.epoch:
            self._epoch = self._worker.epoch
            self._by_series.clear()

    def _report(self, problem: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            _logger.error("metrics: an exemplar reservoir failed; exemplars are missing", exc_info=problem)
