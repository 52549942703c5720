"""From Views and readers to streams: what each instrument's measurements become."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DefaultAggregation,
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from telemetry.sdk.definition import AggregationSpec, InstrumentKind, StreamDefinition, kind_of
from telemetry.sdk.merged import DataKind

_logger = logging.getLogger(__name__)

DEFAULT_BOUNDS = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0,
)  # fmt: skip
_LARGEST_EXPONENTIAL = 16_384
_SMALLEST_EXPONENTIAL = 2


class PerWorkerView(View):
    """A View whose streams have a series for each worker, told apart by the attribute `worker`.

    Its value is the lowest number that no living worker had when the worker began.
    """


class _RefusedError(Exception):
    """An aggregation that cannot be used; the text says why."""


@dataclass(frozen=True)
class ReaderConfig:
    """What a reader asks for, by kind of instrument."""

    aggregations: Mapping[InstrumentKind, Aggregation]
    limits: Mapping[InstrumentKind, int]
    temporalities: Mapping[InstrumentKind, AggregationTemporality]

    @classmethod
    def of(cls, reader: MetricReader) -> "ReaderConfig":
        """Return what an official reader was made with."""
        return cls(
            _by_kind(reader._instrument_class_aggregation),  # noqa: SLF001 - the SDK's own contract with readers
            _by_kind(reader._instrument_class_cardinality_limit),  # noqa: SLF001
            _by_kind(reader._instrument_class_temporality),  # noqa: SLF001
        )

    @property
    def wants_delta(self) -> bool:
        """Whether any kind of instrument is asked for as delta."""
        return AggregationTemporality.DELTA in self.temporalities.values()

    def takes(self, definition: StreamDefinition) -> bool:
        """Tell whether a stream is one of those that this reader's configuration makes."""
        kind = definition.kind
        if not definition.limit_from_view and definition.limit != self.limits[kind]:
            return False
        if definition.aggregation_from_view:
            return True
        wanted = self.aggregations[kind]
        try:
            spec = _spec(wanted, kind, definition.aggregation.bounds)
        except _RefusedError:
            return False
        return spec == definition.aggregation


def definitions(
    instrument: Any, views: Sequence[View], readers: Iterable[ReaderConfig]
) -> list[StreamDefinition]:
    """Return the streams that an instrument has, over all Views that match and all readers, each once."""
    found: dict[bytes, StreamDefinition] = {}
    matching: list[tuple[int | None, View | None]] = [
        (number, view)
        for number, view in enumerate(views)
        if view._match(instrument) and _fits(view, instrument)  # noqa: SLF001 - how Views are asked
    ]
    for reader in readers:
        for number, view in matching or _UNSEEN:
            definition = _definition(instrument, number, view, reader)
            if definition is not None:
                found.setdefault(definition.to_text(), definition)
    return list(found.values())


def _definition(
    instrument: Any, number: int | None, view: View | None, reader: ReaderConfig
) -> StreamDefinition | None:
    kind = kind_of(instrument)
    chosen = None if view is None else view._aggregation  # noqa: SLF001
    from_view = chosen is not None and not isinstance(chosen, DefaultAggregation)
    try:
        spec = _spec(
            chosen if chosen is not None and from_view else reader.aggregations[kind],
            kind,
            _advised(instrument),
        )
    except _RefusedError as problem:
        _logger.error("metrics: the aggregation of %s is refused: %s", instrument.name, problem)
        return None
    if spec is None or (kind.is_observable and spec.kind in _HISTOGRAMS):
        return None
    limit = None if view is None else view._aggregation_cardinality_limit  # noqa: SLF001
    keys = None if view is None else view._attribute_keys  # noqa: SLF001
    return StreamDefinition(
        scope=instrument.instrumentation_scope,
        instrument=instrument.name,
        kind=kind,
        unit=instrument.unit,
        name=(view and view._name) or instrument.name,  # noqa: SLF001
        description=(view and view._description) or instrument.description,  # noqa: SLF001
        aggregation=spec,
        view=number,
        keys=None if keys is None else tuple(sorted(keys)),
        aggregation_from_view=from_view,
        limit=reader.limits[kind] if limit is None else limit,
        limit_from_view=limit is not None,
        per_worker=isinstance(view, PerWorkerView),
    )


_UNSEEN: list[tuple[int | None, View | None]] = [(None, None)]
_HISTOGRAMS = (DataKind.HISTOGRAM, DataKind.EXPONENTIAL_HISTOGRAM)
_DEFAULT_KINDS = {
    InstrumentKind.COUNTER: DataKind.SUM,
    InstrumentKind.UP_DOWN_COUNTER: DataKind.SUM,
    InstrumentKind.OBSERVABLE_COUNTER: DataKind.SUM,
    InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER: DataKind.SUM,
    InstrumentKind.HISTOGRAM: DataKind.HISTOGRAM,
    InstrumentKind.GAUGE: DataKind.GAUGE,
    InstrumentKind.OBSERVABLE_GAUGE: DataKind.GAUGE,
}


def _fits(view: View, instrument: Any) -> bool:
    """Tell whether a View can be applied to an instrument, and say so where not."""
    aggregation = view._aggregation  # noqa: SLF001
    if kind_of(instrument).is_observable and isinstance(
        aggregation, ExplicitBucketHistogramAggregation | ExponentialBucketHistogramAggregation
    ):
        _logger.warning("metrics: a View asks for a histogram of %s, which has none", instrument.name)
        return False
    try:
        _spec(aggregation, kind_of(instrument), ())
    except _RefusedError as problem:
        _logger.error("metrics: a View of %s is not applied: %s", instrument.name, problem)
        return False
    return True


def _spec(
    aggregation: Aggregation, kind: InstrumentKind, advised: Sequence[float] | None
) -> AggregationSpec | None:
    """Return how to aggregate, None to drop; raises _RefusedError."""
    chosen = type(aggregation)
    if chosen is DropAggregation:
        return None
    if chosen is DefaultAggregation:
        data_kind = _DEFAULT_KINDS[kind]
        bounds = _checked(advised) if data_kind is DataKind.HISTOGRAM else ()
        return AggregationSpec(data_kind, bounds, advised=data_kind is DataKind.HISTOGRAM)
    if chosen is SumAggregation:
        return AggregationSpec(DataKind.SUM)
    if chosen is LastValueAggregation:
        return AggregationSpec(DataKind.GAUGE)
    if (
        isinstance(aggregation, ExplicitBucketHistogramAggregation)
        and chosen is ExplicitBucketHistogramAggregation
    ):
        given = aggregation._boundaries  # noqa: SLF001
        return AggregationSpec(
            DataKind.HISTOGRAM,
            _checked(advised if given is None else given),
            record_min_max=aggregation._record_min_max,  # noqa: SLF001
            advised=given is None,
        )
    if (
        isinstance(aggregation, ExponentialBucketHistogramAggregation)
        and chosen is ExponentialBucketHistogramAggregation
    ):
        size = aggregation._max_size  # noqa: SLF001
        if not _SMALLEST_EXPONENTIAL <= size <= _LARGEST_EXPONENTIAL:
            raise _RefusedError(
                f"{size} buckets are not from {_SMALLEST_EXPONENTIAL} to {_LARGEST_EXPONENTIAL}"
            )
        return AggregationSpec(
            DataKind.EXPONENTIAL_HISTOGRAM,
            record_min_max=aggregation._record_min_max,  # noqa: SLF001
            max_size=size,
            max_scale=max(-10, min(20, aggregation._max_scale)),  # noqa: SLF001
        )
    raise _RefusedError(f"{chosen.__name__} is not one of the standard aggregations")


def valid_bounds(bounds: object) -> bool:
    """Tell whether bounds of buckets are finite numbers, each greater than the one before."""
    return (
        isinstance(bounds, Sequence)
        and all(isinstance(each, int | float) and math.isfinite(each) for each in bounds)
        and all(one < other for one, other in pairwise(bounds))
    )


def _checked(bounds: Sequence[float] | None) -> tuple[float, ...]:
    if bounds is None:
        return DEFAULT_BOUNDS
    if not valid_bounds(bounds):
        raise _RefusedError(f"bounds must be finite and strictly increasing: {bounds!r}")
    return tuple(map(float, bounds))


def _advised(instrument: Any) -> Sequence[float] | None:
    advisory = getattr(instrument, "_advisory", None)
    return None if advisory is None else advisory.explicit_bucket_boundaries


def _by_kind(by_class: Mapping[Any, Any]) -> dict[InstrumentKind, Any]:
    return {kind_of(each): value for each, value in by_class.items()}
