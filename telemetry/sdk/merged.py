"""What a merge of all workers gives to whoever shows it: streams with their series and values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import AnyValue

SeriesAttributes = Mapping[str, AnyValue]


class DataKind(StrEnum):
    """The kinds of data that a stream carries. Source: metrics data model, "Metric points"."""

    SUM = "sum"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    EXPONENTIAL_HISTOGRAM = "exponential_histogram"


class HistogramValue(NamedTuple):
    """An explicit-bucket histogram; `buckets` has one count more than the stream has bounds.

    Minimum and maximum are None where the stream does not keep them.
    """

    count: int  # type: ignore[assignment] # as in the data model; tuple.count is not wanted
    sum: float
    minimum: float | None
    maximum: float | None
    buckets: Sequence[int]


class ExponentialValue(NamedTuple):
    """A base-2 exponential histogram.

    Bucket i of a range counts values in (base^(offset+i), base^(offset+i+1)], where base is 2^(2^-scale). An
    empty range has no counts. Source: metrics data model, "ExponentialHistogram".
    """

    count: int  # type: ignore[assignment] # as in the data model; tuple.count is not wanted
    sum: float
    minimum: float | None
    maximum: float | None
    scale: int
    zero_count: int
    positive_offset: int
    positive: Sequence[int]
    negative_offset: int
    negative: Sequence[int]


Value = int | float | HistogramValue | ExponentialValue


class ExemplarValue(NamedTuple):
    """One sampled measurement; ids are 0 where there was no span, `bucket` is -1 outside of histograms."""

    value: float
    time_unix_nano: int
    trace_id: int
    span_id: int
    filtered_attributes: SeriesAttributes
    bucket: int


@dataclass(eq=False)
class MergedStream:
    """One metric stream over all workers.

    `attributes` is the same list at every merge and only grows: text that was made of its first n entries
    stays right. `starts`, in Unix nanoseconds, and `values` belong to one merge and are parallel to it; a
    value is None where the series has nothing to report now.
    """

    scope: InstrumentationScope
    name: str
    description: str
    unit: str
    kind: DataKind
    is_monotonic: bool
    bounds: tuple[float, ...]
    temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE
    attributes: Sequence[SeriesAttributes] = field(default_factory=list)
    starts: Sequence[int] = field(default_factory=list)
    values: Sequence[Value | None] = field(default_factory=list)
    exemplars: dict[int, list[ExemplarValue]] = field(default_factory=dict)


@dataclass(eq=False)
class Merged:
    """All streams of a run at one instant, in Unix nanoseconds."""

    resource: Resource
    time_unix_nano: int
    streams: list[MergedStream]
