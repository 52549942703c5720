"""What the next archive holds: the archive and the dead as one, and what hooks want corrected."""

import logging
import math
from bisect import bisect_left
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from telemetry.sdk import exact
from telemetry.sdk.admission import Admissions, digest
from telemetry.sdk.attribute_sets import OVERFLOW
from telemetry.sdk.codec import encode_attributes
from telemetry.sdk.columns import Stream
from telemetry.sdk.definition import InstrumentKind, StreamDefinition
from telemetry.sdk.exponential import bucket_index
from telemetry.sdk.exponential import merge as merge_exponential
from telemetry.sdk.hooks import Correction, FixedSources, Target, Targets, finish
from telemetry.sdk.image import ArchivedSeries, ArchivedStream, LastValue, SeriesValue, SumValue
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import DataKind, ExponentialValue, HistogramValue
from telemetry.sdk.records import merged_gauge
from telemetry.sdk.snapshot import SegmentReader
from telemetry.sdk.sources import Source

_logger = logging.getLogger(__name__)

_SLICE = 512
_NOT_NEGATIVE = (InstrumentKind.COUNTER, InstrumentKind.HISTOGRAM)


def read_streams(
    directory: Path, paths: Iterable[Path]
) -> tuple[dict[bytes, ArchivedStream], dict[Path, str]]:
    """Return the merged streams of an archive and dead segments, and which files are broken, and why."""
    sources = FixedSources(directory)
    try:
        for path in paths:
            sources.add(Source(SegmentReader(path)))
        merger = Merger(directory)
        merger.sources = sources
        merger.total = exact.total_rounded_up
        streams = finish(_archived(finish(merger.merge())))
    finally:
        sources.close()
    return streams, {source.reader.path: reason for source, reason in sources.broken.items()}


def _archived(streams: Iterable[Stream]) -> Generator[None, None, dict[bytes, ArchivedStream]]:
    """Return what outlives its worker of merged streams of the dead, yielding between pieces of work."""
    found: dict[bytes, ArchivedStream] = {}
    for stream in streams:
        if not stream.definition.outlives_worker:
            continue
        kept = found[stream.text] = ArchivedStream(stream.definition, stream.merged.name)
        for start in range(0, len(stream.merged.attributes), _SLICE):
            end = min(start + _SLICE, len(stream.merged.attributes))
            for ordinal, value in enumerate(_values(stream, start, end), start):
                if value is not None:
                    kept.series[stream.series_text(ordinal)] = ArchivedSeries(
                        stream.merged.starts[ordinal], value, stream.merged.exemplars.get(ordinal, ())
                    )
            yield
    return found


def _values(stream: Stream, start: int, end: int) -> Iterable[SeriesValue | None]:
    if stream.definition.is_number:
        return _sums(stream, start, end)
    values = stream.merged.values[start:end]
    if stream.merged.kind in (DataKind.HISTOGRAM, DataKind.EXPONENTIAL_HISTOGRAM):
        return values  # type: ignore[return-value] # histograms, by the stream's kind
    return [
        None if value is None else LastValue(value, _set_at(stream, ordinal))  # type: ignore[arg-type]
        for ordinal, value in enumerate(values, start)
    ]


def _sums(stream: Stream, start: int, end: int) -> Iterable[SumValue | None]:
    """Return sums with the ints, which are exact, and the floats still apart."""
    none = [0] * (end - start)
    ints = [column.int_slice(start, end) for column in stream.columns]
    floats = [column.float_slice(start, end) for column in stream.columns]
    for whole, fraction, here, has_floats in zip(
        zip(none, *ints, strict=True),
        zip(none, *floats, strict=True),
        stream.present[start:end],
        stream.floats[start:end],
        strict=True,
    ):
        total = int(sum(whole))
        if not here:
            yield None
        elif has_floats:
            yield SumValue(total or None, float(exact.total_rounded_up(fraction)))
        else:
            yield SumValue(total, None)


def _set_at(stream: Stream, ordinal: int) -> int:
    held = [column for column in stream.columns if column.record_at(ordinal) >= 0]
    return merged_gauge(held, ordinal)[1]


class Corrector:
    """Adds the measurements of hooks to what is to be archived, as their instruments would have."""

    def __init__(
        self, streams: dict[bytes, ArchivedStream], targets: Targets, admissions: Admissions
    ) -> None:
        self._streams = streams
        self._targets = targets
        self._admissions = admissions

    def apply(self, correction: Correction, created: int, now: int) -> None:
        """Add a measurement of a worker that was created at a time; times are in Unix nanoseconds."""
        amount: Any = correction.amount
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
            _logger.error("metrics: %r is no amount to correct by: ignored", amount)
            return
        targets = self._targets(correction.instrument)
        if not targets:
            _logger.error("metrics: %r is no instrument to correct: ignored", correction.instrument)
        for target in targets:
            definition = target.store.definition
            if definition.kind.is_observable or not definition.outlives_worker:
                _logger.error("metrics: %s of the dead is not kept: not corrected", definition.name)
            elif amount < 0 and definition.kind in _NOT_NEGATIVE:
                _logger.error("metrics: %s cannot be corrected by %s", definition.name, amount)
            else:
                try:
                    self._apply(target, correction, created, now)
                except Exception:
                    _logger.exception("metrics: %s could not be corrected", definition.name)

    def _apply(self, target: Target, correction: Correction, created: int, now: int) -> None:
        definition = target.store.definition
        stream_text = definition.to_text()
        stream = self._streams.get(stream_text)
        if stream is None:
            stream = self._streams[stream_text] = ArchivedStream(definition, target.name)
        text = encode_attributes(target.store.kept(correction.attributes))
        if text not in stream.series and not self._is_admitted(definition, stream_text, text):
            text = encode_attributes(OVERFLOW)
        before = stream.series.get(text)
        start, exemplars = (created, ()) if before is None else (before.start, before.exemplars)
        value = _observed(definition, None if before is None else before.value, correction.amount, now)
        stream.series[text] = ArchivedSeries(min(start, created), value, exemplars)

    def _is_admitted(self, definition: StreamDefinition, stream: bytes, attributes: bytes) -> bool:
        try:
            return self._admissions.admit(digest(stream), digest(attributes), definition.limit)
        except OSError:
            return True  # the disk is full; better a series too many than one that wanders later


def _observed(
    definition: StreamDefinition, before: SeriesValue | None, amount: float, now: int
) -> SeriesValue:
    """Return a series' value after one more measurement."""
    aggregation = definition.aggregation
    extreme = aggregation.record_min_max
    if definition.is_number:
        ints, floats = before if isinstance(before, SumValue) else (None, None)
        if isinstance(amount, int):
            return SumValue((ints or 0) + amount, floats)
        return SumValue(ints, (floats or 0.0) + amount)
    if aggregation.kind is DataKind.HISTOGRAM:
        if not isinstance(before, HistogramValue):
            before = HistogramValue(0, 0.0, math.inf, -math.inf, [0] * (len(aggregation.bounds) + 1))
        buckets = list(before.buckets)
        buckets[bisect_left(aggregation.bounds, amount)] += 1
        least, most = _extremes(before)
        return HistogramValue(
            before.count + 1,
            before.sum + amount,
            min(least, amount) if extreme else least,
            max(most, amount) if extreme else most,
            buckets,
        )
    if aggregation.kind is DataKind.EXPONENTIAL_HISTOGRAM:
        single = _single(aggregation.max_scale, amount, extreme=extreme)
        parts = [before, single] if isinstance(before, ExponentialValue) else [single]
        return merge_exponential(parts, aggregation.max_size)
    if isinstance(before, LastValue) and before.time > now:
        return before
    return LastValue(amount, now)


def _single(scale: int, amount: float, *, extreme: bool) -> ExponentialValue:
    """Return an exponential histogram of one value."""
    least, most = (amount, amount) if extreme else (math.inf, -math.inf)
    bucket = (bucket_index(abs(amount), scale), (1,)) if amount else (0, ())
    return ExponentialValue(
        1,
        amount,
        least,
        most,
        scale,
        int(not amount),
        *(bucket if amount > 0 else (0, ())),
        *(bucket if amount < 0 else (0, ())),
    )


def _extremes(value: HistogramValue) -> tuple[float, float]:
    least = math.inf if value.minimum is None else value.minimum
    return least, -math.inf if value.maximum is None else value.maximum
