"""The merge of all workers: streams by definition, series by attribute set, values by the rules of each kind.

| aggregation | merged value |
|---|---|
| sums and histograms of counters and histograms, observable counters | all that live, and all that died |
| up-down counters, observable or not | those that live |
| last value | the latest by its time, of all |
| last value of an observable gauge | the latest of those that live |
| start timestamp | the earliest |
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path

from telemetry.sdk import clock, exact
from telemetry.sdk.columns import Column, Stream
from telemetry.sdk.definition import StreamDefinition
from telemetry.sdk.exact import Total
from telemetry.sdk.exemplars import read_exemplar
from telemetry.sdk.layout import ChunkKind, InvalidSegmentError
from telemetry.sdk.merged import DataKind, Value
from telemetry.sdk.records import merged_exponential, merged_gauge, merged_histogram, merged_observed
from telemetry.sdk.sources import Source, Sources

_logger = logging.getLogger(__name__)

SLICE = 1024
_RECORD_SLICE = 64


class Merger:
    """What one process knows of a run, kept so that the next merge only reads the cells. Not thread-safe."""

    def __init__(self, directory: Path) -> None:
        self.sources = Sources(directory)
        self.total: Total = exact.total
        self._streams: dict[bytes, Stream] = {}
        self._by_number: list[Stream] = []
        self._columns: dict[Source, dict[int, Column]] = {}

    def close(self) -> None:
        """Close every file."""
        self.sources.close()

    def release(self) -> None:
        """Let go of cells and values between merges: only where they lie is worth its memory."""
        for stream in self._by_number:
            stream.merged.values = ()
            stream.set_at = []
        for source in self._columns:
            source.release()

    def merge(self) -> Generator[None, None, list[Stream]]:
        """Merge all workers as they are now, in steps, and return the streams in use."""
        sources = yield from self.sources.read()
        now = clock.time_ns()
        for gone in self._columns.keys() - set(sources):
            for column in self._columns.pop(gone).values():
                column.stream.remove(column)
        for source in sources:
            yield from self._map(source)
        streams = [stream for stream in self._by_number if stream.columns]
        for stream in streams:
            yield from _fill(stream, now, self.total)
        streams = [stream for stream in streams if not _is_superseded(stream, streams)]
        yield from self._read_exemplars(sources)
        return streams

    def _map(self, source: Source) -> Generator[None]:
        """Give every new stream and series of a source its place."""
        columns = self._columns.setdefault(source, {})
        reader = source.reader
        try:
            for number in range(len(columns), len(reader.streams)):
                record = reader.streams[number]
                stream = self._stream(record.definition, record.name)
                observed = reader.observed_position(record) if record.observed_at else -1
                columns[number] = stream.add(Column(stream, source, observed))
            for done, series in enumerate(reader.take_series(), 1):
                column = columns[series.stream]
                cells = column.stream.definition.cells_in(series.chunk_kind)
                position = reader.position(series, cells)
                ordinal = column.stream.ordinal(series.attributes)
                column.put(series.chunk_kind, ordinal, position, series.start)
                source.streams_of.append(column.stream.number)
                source.ordinals_of.append(ordinal)
                if done % SLICE == 0:
                    yield
        except InvalidSegmentError:
            # Its checksums are right and what it says is not: as if it had never been there.
            for column in self._columns.pop(source).values():
                column.stream.remove(column)
            self.sources.discard(source, "its records contradict each other")

    def _stream(self, text: bytes, name: bytes) -> Stream:
        stream = self._streams.get(text)
        if stream is None:
            definition = StreamDefinition.from_text(text)
            stream = Stream(definition, text, name.decode("utf-8", "replace"), len(self._by_number))
            self._streams[text] = stream
            self._by_number.append(stream)
        return stream

    def _read_exemplars(self, sources: Sequence[Source]) -> Generator[None]:
        for stream in self._by_number:
            stream.merged.exemplars = {}
        for source in sources:
            for slot in source.reader.slots(ChunkKind.EXEMPLARS):
                found = read_exemplar(slot)
                if found is None or found[0] >= len(source.streams_of):
                    continue
                stream = self._by_number[source.streams_of[found[0]]]
                stream.offer_exemplar(source.ordinals_of[found[0]], found[1])
            yield


def _is_superseded(stream: Stream, streams: Sequence[Stream]) -> bool:
    """Whether only dead workers know a stream whose metric is another stream by now; said once."""
    if stream.is_live or not any(
        other.is_live and stream.definition.is_succeeded_by(other.definition) for other in streams
    ):
        return False
    if not stream.is_reported:
        stream.is_reported = True
        _logger.warning(
            "metrics: %s has another kind, unit or aggregation than before, and starts anew",
            stream.merged.name,
        )
    return True


def _fill(stream: Stream, now: int, total: Total) -> Generator[None]:
    stream.refresh()
    merged = stream.merged
    columns = [column for column in stream.columns if column.counts]
    stream.set_at = []
    values: list[Value | None] = []
    size = SLICE if stream.definition.is_number else _RECORD_SLICE
    series = len(merged.attributes)
    for start in range(0, series, size):
        end = min(start + size, series)
        if stream.definition.is_number:
            values.extend(_numbers(stream, columns, start, end))
        else:
            values.extend(_records(stream, columns, range(start, end), now, total))
        yield
    merged.values = values


def _numbers(stream: Stream, columns: Sequence[Column], start: int, end: int) -> Sequence[Value | None]:
    ints = _added([column.int_slice(start, end) for column in columns if column.has_ints], end - start)
    if stream.has_floats:
        parts = [column.float_slice(start, end) for column in columns if column.has_floats]
        floats = parts[0] if len(parts) == 1 else map(exact.total, zip(*parts, strict=True))
        mask = stream.floats[start:end]
        ints = [i + f if is_float else i for i, f, is_float in zip(ints, floats, mask, strict=True)]
    if stream.all_present:
        return ints
    return [value if here else None for value, here in zip(ints, stream.present[start:end], strict=True)]


def _added(parts: list[list[float]], size: int) -> list[float]:
    """Return the sums of lists of a size, place by place."""
    if not parts:
        return [0] * size
    return reduce(lambda one, other: list(map(add, one, other)), parts)


def _records(
    stream: Stream, columns: Sequence[Column], ordinals: range, now: int, total: Total
) -> Iterator[Value | None]:
    definition = stream.definition
    kind = definition.aggregation.kind
    for ordinal in ordinals:
        held = [column for column in columns if column.record_at(ordinal) >= 0]
        if kind is DataKind.HISTOGRAM:
            yield merged_histogram(held, ordinal, len(definition.aggregation.bounds), total)
        elif kind is DataKind.EXPONENTIAL_HISTOGRAM:
            yield merged_exponential(definition, held, ordinal, total)
        elif definition.kind.is_observable:
            yield merged_observed(definition, held, ordinal, now, total)
        else:
            value, set_at = merged_gauge(held, ordinal)
            stream.set_at.append(set_at)
            yield value
