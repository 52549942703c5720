"""The reader of one segment file: what was written since it last looked, and every cell as it is now.

It trusts nothing that the file says and holds no mapping: a truncated mapping would be SIGBUS. Whatever
cannot be right raises InvalidSegmentError, and the caller leaves the segment out.
"""

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from telemetry.sdk.layout import (
    CHUNK,
    CHUNK_MAGIC,
    COMMITTED_AT,
    EXEMPLAR_SIZE,
    HEADER_SIZE,
    HEARTBEAT_AT,
    MAX_FILE_SIZE,
    NOTE_SIZE,
    PAGE,
    WORD,
    ChunkKind,
    FoldedRecord,
    Header,
    InvalidSegmentError,
    RecordType,
    SeriesRecord,
    StreamRecord,
    align,
    checked_payload,
)

_CELLS = (ChunkKind.INTS, ChunkKind.FLOATS, ChunkKind.RECORDS)
_SLOT_SIZES = {ChunkKind.EXEMPLARS: EXEMPLAR_SIZE, ChunkKind.NOTES: NOTE_SIZE}
_TRIES = 10_000


class _Chunk(NamedTuple):
    offset: int  # of the payload, in the file
    size: int
    first: int  # number of the first cell, among all of its kind


class SegmentReader:
    """An open segment file. Not safe for concurrent use.

    `streams` is what the catalogue holds so far, in order; a series' cells are numbered within all cells of
    their chunk kind, which is what `position` returns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams: list[StreamRecord] = []
        self._series: deque[SeriesRecord] = deque()
        self.folded = FoldedRecord(0, frozenset())
        self._chunks: dict[ChunkKind, list[_Chunk]] = {kind: [] for kind in ChunkKind}
        self._walked = HEADER_SIZE
        self._catalogue_chunk = 0
        self._catalogue_at = 0
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self.header = Header.unpack(os.pread(self._fd, HEADER_SIZE, 0))
        except OSError as problem:
            os.close(self._fd)
            raise InvalidSegmentError(f"it cannot be read: {problem.strerror}") from problem
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Close the file; harmless where it is closed."""
        # The number is another file's as soon as one is opened.
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def heartbeat(self) -> int:
        """When the writer last said that it lives, in Unix nanoseconds."""
        return self._header_cell(HEARTBEAT_AT)

    def refresh(self) -> None:
        """Read what was added to the catalogue since the last time."""
        self._find_chunks()
        self._read_catalogue()
        # Again: the last records may be of chunks that a living writer has added since.
        self._find_chunks()

    def take_series(self) -> Iterator[SeriesRecord]:
        """Yield the series records not taken yet; what is left by a break is there next time."""
        while self._series:
            yield self._series.popleft()

    def position(self, record: SeriesRecord, cells: int) -> int:
        """Return the number of a series' first cell; raises InvalidSegmentError if its cells do not fit."""
        return self._cell_number(record.chunk_kind, record.offset, cells)

    def observed_position(self, record: StreamRecord) -> int:
        """Return the number of a stream's cell with the time of its last callbacks."""
        return self._cell_number(ChunkKind.RECORDS, record.observed_at, 1)

    def numbers(self, kind: ChunkKind) -> Any:
        """Return all cells of the number chunks of a kind, each as it was at some instant of the call."""
        data = self._read_all(kind)
        return memoryview(data).cast("q" if kind is ChunkKind.INTS else "d")

    def records(self) -> "Records":
        """Return all cells of the record chunks, from which single records are then read consistently."""
        return Records(self, self._read_all(ChunkKind.RECORDS), self._read_all(ChunkKind.RECORDS))

    def slots(self, kind: ChunkKind) -> Iterator[bytes]:
        """Yield the slots of fixed size that hold exemplars or notes, as far as they can be read."""
        size = _SLOT_SIZES[kind]
        for chunk in self._chunks[kind]:
            try:
                data = self._read(chunk.offset, chunk.size)
            except (InvalidSegmentError, OSError):
                return  # it was truncated or closed meanwhile
            for at in range(0, len(data) - size + 1, size):
                if any(data[at : at + WORD.size]):
                    yield data[at : at + size]

    def read_cells(self, first: int, cells: int) -> bytes:
        """Return cells of the record chunks, by number, as they are now."""
        chunks = self._chunks[ChunkKind.RECORDS]
        chunk = chunks[bisect_right(chunks, first, key=lambda each: each.first) - 1]
        return self._read(chunk.offset + (first - chunk.first) * 8, cells * 8)

    def _header_cell(self, at: int) -> int:
        return int.from_bytes(os.pread(self._fd, 8, at), "little")

    def _find_chunks(self) -> None:
        committed = self._header_cell(COMMITTED_AT)
        if not HEADER_SIZE <= committed <= min(os.fstat(self._fd).st_size, MAX_FILE_SIZE):
            raise InvalidSegmentError(f"it claims {committed} bytes, which it does not have")
        while self._walked < committed:
            self._walk(committed)

    def _walk(self, committed: int) -> None:
        head = os.pread(self._fd, CHUNK.size, self._walked)
        if len(head) < CHUNK.size:
            raise InvalidSegmentError("a chunk has no header")
        magic, kind, size = CHUNK.unpack(head)
        if magic != CHUNK_MAGIC or kind not in ChunkKind._value2member_map_:
            raise InvalidSegmentError("a chunk's header is broken")
        if size < PAGE or size % PAGE or self._walked + size > committed:
            raise InvalidSegmentError(f"a chunk claims {size} bytes, which cannot be")
        chunks = self._chunks[ChunkKind(kind)]
        first = chunks[-1].first + chunks[-1].size // 8 if chunks else 0
        chunks.append(_Chunk(self._walked + CHUNK.size, size - CHUNK.size, first))
        self._walked += size

    def _read_catalogue(self) -> None:
        chunks = self._chunks[ChunkKind.CATALOGUE]
        # A chunk that has a successor is complete: the writer never returns to it.
        while self._catalogue_chunk < len(chunks):
            chunk = chunks[self._catalogue_chunk]
            at = self._catalogue_at
            data = self._read(chunk.offset + at, chunk.size - at)
            self._catalogue_at += self._read_catalogue_chunk(data)
            if self._catalogue_chunk + 1 == len(chunks):
                break
            self._catalogue_chunk += 1
            self._catalogue_at = 0

    def _read_catalogue_chunk(self, data: bytes) -> int:
        at = 0
        while (payload := checked_payload(data, at, len(data))) is not None:
            if payload[:1] == _SERIES:
                record = SeriesRecord.unpack(payload)
                if record.stream >= len(self.streams):
                    raise InvalidSegmentError("a series names a stream that does not exist")
                self._series.append(record)
            elif payload[:1] == _STREAM:
                self.streams.append(StreamRecord.unpack(payload))
            elif payload[:1] == _FOLDED:
                self.folded = FoldedRecord.unpack(payload)
            else:
                raise InvalidSegmentError("a record is of an unknown type")
            at += WORD.size + align(len(payload))
        return at

    def _cell_number(self, kind: ChunkKind, offset: int, cells: int) -> int:
        chunks = self._chunks.get(kind, []) if kind in _CELLS else []
        index = bisect_right(chunks, offset, key=lambda each: each.offset) - 1
        if index >= 0 and offset % 8 == 0:
            chunk = chunks[index]
            if offset + cells * 8 <= chunk.offset + chunk.size:
                return chunk.first + (offset - chunk.offset) // 8
        raise InvalidSegmentError("a record's cells lie outside of the chunks")

    def _read_all(self, kind: ChunkKind) -> bytes:
        return b"".join([self._read(chunk.offset, chunk.size) for chunk in self._chunks[kind]])

    def _read(self, offset: int, size: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise InvalidSegmentError("it was truncated")
        return data


_SERIES = bytes([RecordType.SERIES])
_STREAM = bytes([RecordType.STREAM])
_FOLDED = bytes([RecordType.FOLDED])


class Records:
    """The record cells of a segment, read twice: a record whose two copies are equal was not being written.

    One that differs is read again until it holds still.
    """

    def __init__(self, reader: SegmentReader, first: bytes, second: bytes) -> None:
        self._reader = reader
        self._first = first
        self._second = second
        self._equal = first == second
        self.floats = memoryview(second).cast("d")
        self.ints = memoryview(second).cast("q")

    def consistent(self, position: int, cells: int) -> "tuple[Any, Any, int]":
        """Return a view of floats, one of ints, and the index in both at which a consistent record begins."""
        if self._equal:
            return self.floats, self.ints, position
        start, end = position * 8, (position + cells) * 8
        last = self._second[start:end]
        if self._first[start:end] == last:
            return self.floats, self.ints, position
        for _ in range(_TRIES):
            try:
                again = self._reader.read_cells(position, cells)
            except (InvalidSegmentError, OSError):
                break  # it was truncated or closed meanwhile; the next merge says so
            if again == last:
                break
            last = again
        return memoryview(last).cast("d"), memoryview(last).cast("q"), 0
