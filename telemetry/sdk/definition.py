"""What a metric stream is: the instrument, what the View made of it, and how it aggregates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import inf
from typing import Any

from opentelemetry.metrics import Instrument
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.codec import decode_attributes, encode_attributes
from telemetry.sdk.exponential import MAX_SCALE, MIN_SCALE
from telemetry.sdk.layout import (
    ChunkKind,
    ExponentialCell,
    GaugeCell,
    HistogramCell,
    InvalidSegmentError,
)
from telemetry.sdk.merged import DataKind

SMALLEST_EXPONENTIAL = 2
LARGEST_EXPONENTIAL = 16_384


class InstrumentKind(StrEnum):
    """The seven kinds of instruments. Source: metrics API, "Instrument"."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up_down_counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"
    OBSERVABLE_COUNTER = "observable_counter"
    OBSERVABLE_UP_DOWN_COUNTER = "observable_up_down_counter"
    OBSERVABLE_GAUGE = "observable_gauge"

    @property
    def is_observable(self) -> bool:
        """Whether callbacks give its measurements."""
        return self.value.startswith("observable")


_SDK_CLASSES = (
    (ObservableCounter, InstrumentKind.OBSERVABLE_COUNTER),
    (ObservableUpDownCounter, InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER),
    (ObservableGauge, InstrumentKind.OBSERVABLE_GAUGE),
    (Counter, InstrumentKind.COUNTER),
    (UpDownCounter, InstrumentKind.UP_DOWN_COUNTER),
    (Histogram, InstrumentKind.HISTOGRAM),
)


def kind_of(instrument: Instrument | type[Instrument]) -> InstrumentKind:
    """Return the kind of an SDK instrument, or of its class."""
    found = instrument if isinstance(instrument, type) else type(instrument)
    return next((kind for each, kind in _SDK_CLASSES if issubclass(found, each)), InstrumentKind.GAUGE)


@dataclass(frozen=True, slots=True)
class AggregationSpec:
    """How a stream aggregates.

    `bounds` are of explicit histograms, `max_size` and `max_scale` of exponential. `advised` says that nobody
    chose the bounds but the instrument, so that readers with other bounds are not given the stream.
    """

    kind: DataKind
    bounds: tuple[float, ...] = ()
    record_min_max: bool = True
    max_size: int = 0
    max_scale: int = 0
    advised: bool = False


@dataclass(frozen=True, slots=True)
class StreamDefinition:
    """A stream's identity: two workers with equal definitions have the same stream.

    `view` is the View's place in the provider's list, None for the default. `keys` are the attribute keys
    that are kept, None for all. An aggregation or limit that no View gave is the reader's, and other readers
    may then have another stream.
    """

    scope: InstrumentationScope
    instrument: str
    kind: InstrumentKind
    unit: str
    name: str
    description: str
    aggregation: AggregationSpec
    view: int | None = None
    keys: tuple[str, ...] | None = None
    aggregation_from_view: bool = False
    limit: int = 2000
    limit_from_view: bool = False
    per_worker: bool = False

    @property
    def is_monotonic(self) -> bool:
        """Whether the stream is a sum that never falls."""
        return self.aggregation.kind is DataKind.SUM and self.kind in (
            InstrumentKind.COUNTER,
            InstrumentKind.OBSERVABLE_COUNTER,
        )

    @property
    def outlives_worker(self) -> bool:
        """Whether what a dead worker recorded still counts."""
        return self.kind not in (
            InstrumentKind.UP_DOWN_COUNTER,
            InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER,
            InstrumentKind.OBSERVABLE_GAUGE,
        ) or self.aggregation.kind in (DataKind.HISTOGRAM, DataKind.EXPONENTIAL_HISTOGRAM)

    @property
    def is_number(self) -> bool:
        """Whether a series is a set of cells whose sum is its value."""
        return self.aggregation.kind is DataKind.SUM and not self.kind.is_observable

    @property
    def has_negative_range(self) -> bool:
        """Whether an exponential histogram may meet negative values."""
        return self.kind not in (InstrumentKind.COUNTER, InstrumentKind.HISTOGRAM)

    @property
    def record_cells(self) -> int:
        """The number of cells of one series, in record chunks."""
        aggregation = self.aggregation
        if aggregation.kind is DataKind.HISTOGRAM:
            return HistogramCell.BUCKETS + len(aggregation.bounds) + 1
        if aggregation.kind is DataKind.EXPONENTIAL_HISTOGRAM:
            return ExponentialCell.COPIES + 2 * self.exponential_copy_cells
        return GaugeCell.SIZE

    @property
    def exponential_copy_cells(self) -> int:
        """The number of cells of one copy of an exponential histogram."""
        ranges = 2 if self.has_negative_range else 1
        return ExponentialCell.BUCKETS + ranges * self.aggregation.max_size

    def cells_in(self, kind: ChunkKind) -> int:
        """Return how many cells a series has in a kind of chunk.

        Raises InvalidSegmentError where it has none.
        """
        if self.is_number:
            if kind in (ChunkKind.INTS, ChunkKind.FLOATS):
                return 1
        elif kind is ChunkKind.RECORDS:
            return self.record_cells
        raise InvalidSegmentError("a series is in a chunk of the wrong kind")

    def is_succeeded_by(self, other: "StreamDefinition") -> bool:
        """Whether another stream is the same metric, which has another kind, unit or aggregation by now."""
        if (self.scope.name, self.instrument, self.view, self.name.lower()) != (
            other.scope.name,
            other.instrument,
            other.view,
            other.name.lower(),
        ):
            return False
        return (self.kind, self.unit, self.aggregation) != (other.kind, other.unit, other.aggregation)

    def to_text(self) -> bytes:
        """Return the canonical text of the definition."""
        scope = self.scope
        # Whatever type a caller gave: what does not read back would make readers refuse the whole segment.
        fields = {
            "scope": [
                *(
                    None if each is None else str(each)
                    for each in (scope.name, scope.version, scope.schema_url)
                ),
                encode_attributes(scope.attributes or {}).decode("ascii"),
            ],
            "instrument": self.instrument,
            "kind": self.kind,
            "unit": str(self.unit),
            "name": str(self.name),
            "description": str(self.description),
            "view": self.view,
            "keys": self.keys,
            "aggregation": [
                self.aggregation.kind,
                self.aggregation.bounds,
                bool(self.aggregation.record_min_max),
                int(self.aggregation.max_size),
                int(self.aggregation.max_scale),
                self.aggregation.advised,
            ],
            "aggregation_from_view": self.aggregation_from_view,
            "limit": int(self.limit),
            "limit_from_view": self.limit_from_view,
            "per_worker": self.per_worker,
        }
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode("ascii")

    @classmethod
    def from_text(cls, text: bytes) -> "StreamDefinition":
        """Return the definition of a canonical text; raises InvalidSegmentError for anything else."""
        try:
            definition = cls._from_fields(json.loads(text))
            if definition.to_text() != text:
                raise ValueError("it is not canonical")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as problem:
            raise InvalidSegmentError(f"a stream's definition cannot be read: {problem}") from problem
        return definition

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> "StreamDefinition":
        name, version, schema_url, attributes = fields["scope"]
        kind, bounds, record_min_max, max_size, max_scale, advised = fields["aggregation"]
        keys = fields["keys"]
        aggregation = AggregationSpec(
            DataKind(kind),
            tuple(map(float, bounds)),
            bool(record_min_max),
            int(max_size),
            int(max_scale),
            bool(advised),
        )
        _check(aggregation)
        view = fields["view"]
        return cls(
            scope=InstrumentationScope(
                _text(name),
                None if version is None else _text(version),
                _text(schema_url),
                decode_attributes(attributes.encode("ascii")) or None,
            ),
            instrument=_text(fields["instrument"]),
            kind=InstrumentKind(fields["kind"]),
            unit=_text(fields["unit"]),
            name=_text(fields["name"]),
            description=_text(fields["description"]),
            aggregation=aggregation,
            view=None if view is None else int(view),
            keys=None if keys is None else tuple(map(str, keys)),
            aggregation_from_view=bool(fields["aggregation_from_view"]),
            limit=int(fields["limit"]),
            limit_from_view=bool(fields["limit_from_view"]),
            per_worker=bool(fields["per_worker"]),
        )


def _check(aggregation: AggregationSpec) -> None:
    """Raise ValueError for what no writer asks for, and arithmetic on which might not end."""
    if not all(low < high for low, high in pairwise((-inf, *aggregation.bounds, inf))):
        raise ValueError("its bounds do not rise")
    least, most = (
        (SMALLEST_EXPONENTIAL, LARGEST_EXPONENTIAL)
        if aggregation.kind is DataKind.EXPONENTIAL_HISTOGRAM
        else (0, 0)
    )
    if not least <= aggregation.max_size <= most or not MIN_SCALE <= aggregation.max_scale <= MAX_SCALE:
        raise ValueError("its size is out of bounds")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
