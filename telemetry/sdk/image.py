"""The bytes of an archive: every stream's series, merged already, each kind of chunk once and full."""

import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from struct import pack
from typing import NamedTuple

from telemetry.sdk.codec import encode_attributes
from telemetry.sdk.definition import StreamDefinition
from telemetry.sdk.exemplars import POOL_SLOTS
from telemetry.sdk.exponential import wrap
from telemetry.sdk.layout import (
    CHUNK,
    CHUNK_MAGIC,
    COMMITTED_AT,
    EXEMPLAR,
    EXEMPLAR_SIZE,
    HEADER_SIZE,
    PAGE,
    WORD,
    ChunkKind,
    ExponentialCell,
    FoldedRecord,
    GaugeCell,
    Header,
    NumberType,
    SeriesRecord,
    StreamRecord,
    align,
    record_word,
)
from telemetry.sdk.merged import ExemplarValue, ExponentialValue, HistogramValue

_INT64 = 1 << 63


class SumValue(NamedTuple):
    """A sum: of the ints and of the floats that were added; None where there were none."""

    ints: int | None
    floats: float | None


class LastValue(NamedTuple):
    """A value and when it was measured, in Unix nanoseconds."""

    value: float
    time: int


SeriesValue = SumValue | LastValue | HistogramValue | ExponentialValue


class ArchivedSeries(NamedTuple):
    """A series as an archive keeps it."""

    start: int
    value: SeriesValue
    exemplars: Sequence[ExemplarValue] = ()


@dataclass
class ArchivedStream:
    """A stream as an archive keeps it; its series by the canonical text of their attribute sets."""

    definition: StreamDefinition
    name: str
    series: dict[bytes, ArchivedSeries] = field(default_factory=dict)


class _Place(NamedTuple):
    stream: int
    kind: ChunkKind
    at: int  # in the chunk
    start: int
    text: bytes


class ArchiveImage:
    """An archive that is built in memory. Adding a stream yields nothing; `pack` gives the file."""

    def __init__(self) -> None:
        self._ints = array("q")
        self._floats = array("d")
        self._records = bytearray()
        self._streams: list[bytes] = []
        self._places: list[_Place] = []
        self._exemplars: list[tuple[int, ExemplarValue]] = []

    def add(self, stream: ArchivedStream) -> None:
        """Add a stream with all its series."""
        number = len(self._streams)
        text, name = stream.definition.to_text(), stream.name.encode("utf-8", "replace")
        # Without a cell for the last callbacks: what a dead worker observed last stays.
        self._streams.append(StreamRecord(text, name).pack())
        for attributes, series in stream.series.items():
            self._exemplars.extend((len(self._places), each) for each in series.exemplars)
            for kind, at in self._add_cells(stream.definition, series.value):
                self._places.append(_Place(number, kind, at, series.start, attributes))

    def pack(self, header: Header, folded: FoldedRecord) -> list[bytes]:
        """Return the file's pieces, in order."""
        pieces = [bytes(HEADER_SIZE)]
        offsets: dict[ChunkKind, int] = {}
        size = HEADER_SIZE
        for kind, payload in (
            (ChunkKind.INTS, self._ints.tobytes()),
            (ChunkKind.FLOATS, self._floats.tobytes()),
            (ChunkKind.RECORDS, bytes(self._records)),
            (ChunkKind.EXEMPLARS, self._exemplar_slots()),
        ):
            if payload:
                offsets[kind] = size + CHUNK.size
                pieces.append(_chunk(kind, payload))
                size += len(pieces[-1])
        pieces.append(_chunk(ChunkKind.CATALOGUE, self._catalogue(offsets, folded)))
        size += len(pieces[-1])
        head = header.pack().ljust(COMMITTED_AT, b"\0") + WORD.pack(size)
        pieces[0] = head.ljust(HEADER_SIZE, b"\0")
        return pieces

    def _add_cells(self, definition: StreamDefinition, value: SeriesValue) -> Iterable[tuple[ChunkKind, int]]:
        if isinstance(value, SumValue):
            return self._add_numbers(value)
        at = len(self._records)
        if isinstance(value, LastValue):
            self._records += _gauge(value)
        elif isinstance(value, HistogramValue):
            self._records += _histogram(value)
        else:
            self._records += _exponential(definition, value)
        return [(ChunkKind.RECORDS, at)]

    def _add_numbers(self, value: SumValue) -> Iterable[tuple[ChunkKind, int]]:
        ints, floats = value
        if ints is not None and not -_INT64 <= ints < _INT64:
            floats = ints + (floats or 0.0)
        elif ints is not None:
            self._ints.append(ints)
            yield ChunkKind.INTS, 8 * (len(self._ints) - 1)
        if floats is not None:
            self._floats.append(floats)
            yield ChunkKind.FLOATS, 8 * (len(self._floats) - 1)

    def _exemplar_slots(self) -> bytes:
        # As many as one worker keeps, the latest.
        latest = nlargest(POOL_SLOTS, self._exemplars, key=lambda each: each[1].time_unix_nano)
        slots = [_exemplar(series, exemplar) for series, exemplar in latest]
        return b"".join(slot for slot in slots if len(slot) == EXEMPLAR_SIZE)

    def _catalogue(self, offsets: dict[ChunkKind, int], folded: FoldedRecord) -> bytes:
        payloads = [folded.pack(), *self._streams]
        payloads += [
            SeriesRecord(
                place.stream, place.kind, offsets[place.kind] + place.at, place.start, place.text
            ).pack()
            for place in self._places
        ]
        return b"".join(
            WORD.pack(record_word(payload)) + payload.ljust(align(len(payload)), b"\0")
            for payload in payloads
        )


def _chunk(kind: ChunkKind, payload: bytes) -> bytes:
    size = align(CHUNK.size + len(payload), PAGE)
    return (CHUNK.pack(CHUNK_MAGIC, kind, size) + payload).ljust(size, b"\0")


def _gauge(value: LastValue) -> bytes:
    is_int = isinstance(value.value, int) and -_INT64 <= value.value < _INT64
    kind = NumberType.INT if is_int else NumberType.FLOAT
    copy = pack("<qqq" if is_int else "<dqq", value.value, kind, value.time)
    return (bytes(8 * GaugeCell.COPIES) + copy).ljust(8 * GaugeCell.SIZE, b"\0")


def _histogram(value: HistogramValue) -> bytes:
    return pack(
        f"<4d{len(value.buckets)}q", *_sums(value), value.minimum, value.maximum, *_counts(value.buckets)
    )


def _exponential(definition: StreamDefinition, value: ExponentialValue) -> bytes:
    size = definition.aggregation.max_size
    slots = wrap(value.positive_offset, value.positive, size)
    if definition.has_negative_range:
        slots += wrap(value.negative_offset, value.negative, size)
    copy = pack(
        f"<4q4d{len(slots)}q",
        value.scale,
        value.positive_offset,
        value.negative_offset,
        *_counts([value.zero_count]),
        *_sums(value),
        value.minimum,
        value.maximum,
        *_counts(slots),
    )
    return (bytes(8 * ExponentialCell.COPIES) + copy).ljust(8 * definition.record_cells, b"\0")


def _sums(value: HistogramValue | ExponentialValue) -> tuple[float, float]:
    """Return the two sums, of which the one at the count's parity is in force."""
    return (0.0, value.sum) if value.count & 1 else (value.sum, 0.0)


def _counts(counts: Sequence[int]) -> Sequence[int]:
    # Cells have no checksums: of a damaged segment they may add up to what no cell can hold.
    if min(counts) >= -_INT64 and max(counts) < _INT64:
        return counts
    return [max(-_INT64, min(count, _INT64 - 1)) for count in counts]


def _exemplar(series: int, exemplar: ExemplarValue) -> bytes:
    text = encode_attributes(exemplar.filtered_attributes)
    body = (
        EXEMPLAR.pack(
            0,
            series,
            exemplar.bucket,
            exemplar.value,
            exemplar.time_unix_nano,
            exemplar.trace_id.to_bytes(16, "big"),
            exemplar.span_id.to_bytes(8, "big"),
            len(text),
        )[WORD.size :]
        + text
    )
    return (WORD.pack(zlib.crc32(body) | 1 << 32) + body).ljust(EXEMPLAR_SIZE, b"\0")
