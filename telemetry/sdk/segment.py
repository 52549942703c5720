"""The writer of one segment: chunks, cells and catalogue records of a file that only this process writes."""

import mmap
import os
from pathlib import Path

from telemetry.sdk.layout import (
    CHUNK,
    CHUNK_MAGIC,
    COMMITTED_AT,
    HEADER_SIZE,
    HEARTBEAT_AT,
    MAX_FILE_SIZE,
    PAGE,
    SUFFIX,
    WORD,
    ChunkKind,
    Header,
    align,
    record_word,
)
from telemetry.sdk.locks import FileLock
from telemetry.sdk.reserve import grow_reserve

_LARGEST_CHUNK = 1 << 20


class Chunk:
    """One mapped chunk; `ints` and `floats` are views of its payload, `offset` is the payload's place."""

    __slots__ = ("_map", "floats", "ints", "kind", "offset", "size", "used")

    def __init__(self, kind: ChunkKind, mapped: mmap.mmap, offset: int, size: int) -> None:
        self.kind = kind
        self.offset = offset
        self.size = size
        self.used = 0
        self._map = mapped
        with memoryview(mapped) as whole, whole[CHUNK.size :] as payload:
            self.ints = payload.cast("q")
            self.floats = payload.cast("d")

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a place of the payload."""
        start = CHUNK.size + at
        self._map[start : start + len(data)] = data

    def close(self) -> None:
        """Take the views away: whoever still holds one gets a ValueError from now on."""
        self.ints.release()
        self.floats.release()
        self._map.close()


class SegmentWriter:
    """A segment file being written. Not safe for concurrent use: its owner serialises the calls.

    Raises OSError where the file system has no space; nothing is lost or half-done then.
    """

    def __init__(self, path: Path, header: Header, lock: FileLock | None) -> None:
        self.path = path
        self.header = header
        self._lock = lock
        self._chunks: list[Chunk] = []
        self._current: dict[ChunkKind, Chunk] = {}
        self._written: dict[ChunkKind, int] = {}
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._fd, 0, HEADER_SIZE)
            self._head = mmap.mmap(self._fd, HEADER_SIZE)
        except BaseException:
            os.close(self._fd)
            raise
        with memoryview(self._head) as whole:
            self._head_cells = whole.cast("q")
        packed = header.pack()
        self._head[: len(packed)] = packed
        self._head_cells[COMMITTED_AT // 8] = HEADER_SIZE
        self._size = HEADER_SIZE

    @classmethod
    def create(cls, directory: Path, header: Header) -> "SegmentWriter":
        """Create a segment, locked for as long as this process lives, and rename it into view."""
        path = directory / f"{header.id.hex()}{SUFFIX}"
        hidden = path.with_suffix(".new")
        writer = cls(hidden, header, FileLock(hidden))
        try:
            assert writer._lock is not None  # noqa: S101 - for the type checker
            # Waiting: a probe may share the lock for an instant, and without it this worker would seem dead.
            writer._lock.acquire_exclusive()
            hidden.rename(path)
        except BaseException:
            writer.close()
            hidden.unlink(missing_ok=True)
            raise
        writer.path = path
        return writer

    def allocate(self, kind: ChunkKind, cells: int) -> tuple[Chunk, int]:
        """Return a chunk and the index there of that many zero cells in a row, which are the caller's."""
        return self._reserve(kind, cells * 8)

    def append_record(self, payload: bytes) -> None:
        """Append a catalogue record: its bytes first, then the word that commits them."""
        chunk, index = self._reserve(ChunkKind.CATALOGUE, WORD.size + align(len(payload)))
        chunk.write(index * 8 + WORD.size, payload)
        # One store, and as unsigned: the checksum's highest bit may be set.
        word = record_word(payload)
        chunk.ints[index] = word - (1 << 64) if word >> 63 else word

    def heartbeat(self, now: int) -> None:
        """Note that this process lives, at a time in Unix nanoseconds."""
        self._head_cells[HEARTBEAT_AT // 8] = now

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self._size

    def close(self, *, inherited: bool = False) -> None:
        """Take every view away and close the file; a forked child's copy leaves the lock to its parent."""
        for chunk in self._chunks:
            chunk.close()
        self._chunks.clear()
        self._head_cells.release()
        self._head.close()
        os.close(self._fd)
        if self._lock is not None and not inherited:
            self._lock.release()

    def _reserve(self, kind: ChunkKind, size: int) -> tuple[Chunk, int]:
        chunk = self._current.get(kind)
        if chunk is None or chunk.used + size > chunk.size:
            chunk = self._add_chunk(kind, size)
        index = chunk.used // 8
        chunk.used += size
        return chunk, index

    def _add_chunk(self, kind: ChunkKind, at_least: int) -> Chunk:
        least = align(CHUNK.size + at_least, PAGE)
        # As much again as there is: few chunks, and never more than half of the space unused.
        wanted = max(least, min(self._written.get(kind, 0), _LARGEST_CHUNK))
        try:
            mapped = self._map_more(wanted)
        except OSError:
            if wanted == least:
                raise
            wanted = least
            mapped = self._map_more(wanted)
        mapped[: CHUNK.size] = CHUNK.pack(CHUNK_MAGIC, kind, wanted)
        chunk = Chunk(kind, mapped, self._size + CHUNK.size, wanted - CHUNK.size)
        self._chunks.append(chunk)
        self._current[kind] = chunk
        self._written[kind] = self._written.get(kind, 0) + wanted
        self._size += wanted
        # Readers believe in the chunk from here on.
        self._head_cells[COMMITTED_AT // 8] = self._size
        return chunk

    def _map_more(self, size: int) -> mmap.mmap:
        if self._size + size > MAX_FILE_SIZE:
            raise OSError(f"a segment holds at most {MAX_FILE_SIZE} bytes")
        # What this worker records must fit into an archive when it is dead.
        grow_reserve(self.path.parent, self._size + size)
        # Allocated before it is mapped: writing to a hole of a full disk would be SIGBUS.
        os.posix_fallocate(self._fd, self._size, size)
        return mmap.mmap(self._fd, size, offset=self._size)
