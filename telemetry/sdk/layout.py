"""The segment file's constants and records; FORMAT.md draws them byte by byte.

Everything is little-endian and aligned to 8 bytes. Cells are only ever written by one 8-byte store each.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, error

MAGIC = b"OTELSEGM"
VERSION = 1
HEADER_SIZE = 4096
PAGE = 4096
MAX_FILE_SIZE = 1 << 30
SUFFIX = ".segment"
ARCHIVE = "archive"

# What never changes once the file is in view, with a checksum; then the cells that do.
_STATIC = Struct("<8sII16s16sQQQQQQ")
_CRC = Struct("<I4x")
STATIC_SIZE = _STATIC.size + _CRC.size
COMMITTED_AT = STATIC_SIZE
HEARTBEAT_AT = COMMITTED_AT + 8

CHUNK = Struct("<IIQ")
CHUNK_MAGIC = 0x4B4E4843  # "CHNK"

WORD = Struct("<Q")
STREAM = Struct("<BxxxxxxxQI")
SERIES = Struct("<BBxxIQQ")
FOLDED = Struct("<BxxxxxxxQ")
FOLDED_ID_SIZE = 16

NOTE_SIZE = 512
EXEMPLAR = Struct(
    "<QQqdQ16s8sQ"
)  # commit word, series, bucket, value, time, trace id, span id, attributes' length
EXEMPLAR_SIZE = 256
EXEMPLAR_ATTRIBUTES = EXEMPLAR_SIZE - EXEMPLAR.size


class FileKind(IntEnum):
    """What a file of this format is."""

    SEGMENT = 1
    ARCHIVE = 2


class ChunkKind(IntEnum):
    """What a chunk holds."""

    CATALOGUE = 1
    INTS = 2
    FLOATS = 3
    RECORDS = 4
    EXEMPLARS = 5
    NOTES = 6


class RecordType(IntEnum):
    """The first byte of a catalogue record."""

    STREAM = 1
    SERIES = 2
    FOLDED = 3


class GaugeCell(IntEnum):
    """Cells of a gauge: the active copy's number, then two copies of value, its type, and its time."""

    ACTIVE = 0
    COPIES = 1
    VALUE = 0
    TYPE = 1
    TIME = 2
    COPY_SIZE = 3
    SIZE = 7


class NumberType(IntEnum):
    """The type of a gauge's value."""

    UNSET = 0
    INT = 1
    FLOAT = 2


class HistogramCell(IntEnum):
    """Cells of an explicit-bucket histogram; the buckets follow, one more than there are bounds.

    Its count is the sum of the buckets; of the two sums that at count & 1 is in force.
    """

    SUMS = 0
    MINIMUM = 2
    MAXIMUM = 3
    BUCKETS = 4


class ExponentialCell(IntEnum):
    """Cells of a base-2 exponential histogram: the active copy's number, then two copies.

    In a copy, bucket `index` of a range is at `index % max_size` of that range, and all that are not zero lie
    in [start, start + max_size). Its count is the zero count and all buckets; sums as in a histogram.
    """

    ACTIVE = 0
    COPIES = 1
    SCALE = 0
    POSITIVE_START = 1
    NEGATIVE_START = 2
    ZERO_COUNT = 3
    SUMS = 4
    MINIMUM = 6
    MAXIMUM = 7
    BUCKETS = 8


class InvalidSegmentError(Exception):
    """A file that cannot be read as a segment; the text says why."""


class OtherVersionError(InvalidSegmentError):
    """A segment that another version of this code can read."""


@dataclass(frozen=True, slots=True)
class Header:
    """The static part of a file's header. Times are in Unix nanoseconds, `start_time` in clock ticks."""

    kind: FileKind
    id: bytes
    boot_id: bytes = bytes(16)
    pid: int = 0
    start_time: int = 0
    pid_namespace: int = 0
    created: int = 0
    slot: int = 0
    generation: int = 0

    def pack(self) -> bytes:
        """Return the header's bytes, checksum included."""
        static = _STATIC.pack(
            MAGIC,
            VERSION,
            self.kind,
            self.id,
            self.boot_id,
            self.pid,
            self.start_time,
            self.pid_namespace,
            self.created,
            self.slot,
            self.generation,
        )
        return static + _CRC.pack(zlib.crc32(static))

    @classmethod
    def unpack(cls, data: bytes) -> "Header":
        """Return the header that the first bytes of a file hold; raises InvalidSegmentError."""
        if len(data) < STATIC_SIZE:
            raise InvalidSegmentError(f"it is too short: {len(data)} bytes")
        magic, version, kind, *rest = _STATIC.unpack_from(data)
        if magic != MAGIC:
            raise InvalidSegmentError("it does not begin with the magic bytes")
        if version != VERSION:
            raise OtherVersionError(f"it is of version {version}, this reads {VERSION}")
        (crc,) = _CRC.unpack_from(data, _STATIC.size)
        if crc != zlib.crc32(data[: _STATIC.size]):
            raise InvalidSegmentError("its header's checksum is wrong")
        if kind not in FileKind._value2member_map_:
            raise InvalidSegmentError(f"it is of an unknown kind {kind}")
        return cls(FileKind(kind), *rest)


def align(size: int, to: int = 8) -> int:
    """Return a size rounded up to a multiple."""
    return -(-size // to) * to


def record_word(payload: bytes) -> int:
    """Return the word that commits a record: its checksum and its length. Never zero."""
    return zlib.crc32(payload) << 32 | len(payload)


def checked_payload(data: bytes | memoryview, at: int, end: int) -> bytes | None:
    """Return the committed payload at a place of a chunk; None where none is; raises InvalidSegmentError."""
    if at + WORD.size > end:
        return None
    (word,) = WORD.unpack_from(data, at)
    if word == 0:
        return None
    length = word & 0xFFFFFFFF
    if at + WORD.size + length > end:
        raise InvalidSegmentError("a record is longer than its chunk")
    payload = bytes(data[at + WORD.size : at + WORD.size + length])
    if zlib.crc32(payload) != word >> 32:
        raise InvalidSegmentError("a record's checksum is wrong")
    return payload


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """A series of a stream: where its cells are, when it started, its attribute set."""

    stream: int
    chunk_kind: ChunkKind
    offset: int
    start: int
    attributes: bytes

    def pack(self) -> bytes:
        """Return the record's payload."""
        return (
            SERIES.pack(RecordType.SERIES, self.chunk_kind, self.stream, self.offset, self.start)
            + self.attributes
        )

    @classmethod
    def unpack(cls, payload: bytes) -> "SeriesRecord":
        """Return the record that a payload holds; raises InvalidSegmentError."""
        try:
            _, kind, stream, offset, start = SERIES.unpack_from(payload)
            return cls(stream, ChunkKind(kind), offset, start, payload[SERIES.size :])
        except (error, ValueError) as problem:
            raise InvalidSegmentError(f"a series record cannot be read: {problem}") from problem


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A stream: its definition's canonical text, the name to show, and the cell of its last observation.

    `observed_at` is the place of the cell with the time of the last completed callbacks; 0 where the
    instrument has none.
    """

    definition: bytes
    name: bytes
    observed_at: int = 0

    def pack(self) -> bytes:
        """Return the record's payload."""
        return (
            STREAM.pack(RecordType.STREAM, self.observed_at, len(self.definition))
            + self.definition
            + self.name
        )

    @classmethod
    def unpack(cls, payload: bytes) -> "StreamRecord":
        """Return the record that a payload holds; raises InvalidSegmentError."""
        try:
            _, observed_at, length = STREAM.unpack_from(payload)
        except error as problem:
            raise InvalidSegmentError(f"a stream record cannot be read: {problem}") from problem
        text = payload[STREAM.size :]
        if length > len(text):
            raise InvalidSegmentError("a stream record's definition is longer than the record")
        return cls(text[:length], text[length:], observed_at)


@dataclass(frozen=True, slots=True)
class FoldedRecord:
    """The workers that an archive contains.

    How many ever, and the ids of those whose files may still exist.
    """

    count: int
    ids: frozenset[bytes]

    def pack(self) -> bytes:
        """Return the record's payload."""
        return FOLDED.pack(RecordType.FOLDED, self.count) + b"".join(sorted(self.ids))

    @classmethod
    def unpack(cls, payload: bytes) -> "FoldedRecord":
        """Return the record that a payload holds; raises InvalidSegmentError."""
        try:
            _, count = FOLDED.unpack_from(payload)
        except error as problem:
            raise InvalidSegmentError(f"a folded record cannot be read: {problem}") from problem
        ids = payload[FOLDED.size :]
        if len(ids) % FOLDED_ID_SIZE:
            raise InvalidSegmentError("a folded record holds a broken id")
        return cls(
            count,
            frozenset(ids[at : at + FOLDED_ID_SIZE] for at in range(0, len(ids), FOLDED_ID_SIZE)),
        )
