"""The files of a run that a merge reads: every worker's segment and the archive, as one consistent set."""

import errno
import logging
from array import array
from collections.abc import Generator
from pathlib import Path
from typing import Any

from telemetry.sdk.layout import ARCHIVE, SUFFIX, ChunkKind, FileKind, InvalidSegmentError
from telemetry.sdk.locks import FileLock
from telemetry.sdk.snapshot import Records, SegmentReader
from telemetry.sdk.worker import is_alive

_logger = logging.getLogger(__name__)

FOLD_LOCK = "fold.lock"
_TRIES_WITHOUT_LOCK = 3
_NOT_THE_FILES_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


_NO_INTS = memoryview(b"").cast("q")
_NO_FLOATS = memoryview(b"").cast("d")


class Source:
    """One file and its cells as they were read last.

    `streams_of` and `ordinals_of` say for each series record, by number, which stream of the merge it is of
    and which series there; the merge fills them.
    """

    def __init__(self, reader: SegmentReader) -> None:
        self.reader = reader
        self.is_alive = False
        self.ints: Any = _NO_INTS
        self.floats: Any = _NO_FLOATS
        self.records: Records
        self.streams_of = array("i")
        self.ordinals_of = array("i")

    @property
    def id(self) -> bytes:
        """The segment's id."""
        return self.reader.header.id

    def read(self) -> Generator[None]:
        """Read the catalogue's news and all cells; raises InvalidSegmentError."""
        self.reader.refresh()
        yield
        self.ints = self.reader.numbers(ChunkKind.INTS)
        self.floats = self.reader.numbers(ChunkKind.FLOATS)
        yield
        self.records = self.reader.records()

    def release(self) -> None:
        """Let go of the cells, which are most of what a reader holds."""
        self.ints, self.floats = _NO_INTS, _NO_FLOATS
        self.__dict__.pop("records", None)


class _ChangedError(Exception):
    """The set of files changed while it was read."""


class Sources:
    """The open files of a run's directory. Not safe for concurrent use.

    A worker that dies is folded into the archive by whoever notices first: its numbers move from one file to
    another while a merge reads. So a segment that the archive lists is left out, and if the archive was
    replaced or a file vanished meanwhile, everything is read again, at last with folding held off.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, Source] = {}
        self._archive: Source | None = None
        self._archive_key: tuple[int, int] | None = None
        self._reported: set[str] = set()
        self._refused: set[bytes] = set()
        self.skipped = 0

    @property
    def archive(self) -> Source | None:
        """The archive as it was read last."""
        return self._archive

    def read(self) -> Generator[None, None, list[Source]]:
        """Read everything, yielding between pieces of work, and return the sources.

        Raises OSError where that cannot be done: no numbers at all are better than some.
        """
        for _ in range(_TRIES_WITHOUT_LOCK):
            try:
                return (yield from self._read_once())
            except _ChangedError:
                continue
        lock = FileLock(self._directory / FOLD_LOCK)
        try:
            while not lock.acquire_shared(blocking=False):
                yield
            return (yield from self._read_once())
        except _ChangedError as problem:
            raise OSError(f"files vanish from {self._directory} while it is read") from problem
        finally:
            lock.release()

    def discard(self, source: Source, reason: str) -> None:
        """Leave a source out from now on."""
        self._refused.add(source.id)
        self.skipped += 1
        if source is self._archive:
            self._archive = None
            source.reader.close()
        self._skip(source.reader.path.name, reason)

    def close(self) -> None:
        """Close every file."""
        for source in [*self._open.values(), *([self._archive] if self._archive else [])]:
            source.reader.close()
        self._open.clear()
        self._archive = None
        self._archive_key = None

    def _read_once(self) -> Generator[None, None, list[Source]]:
        yield from self._read_archive()
        skipped = int(self._archive is None and self._archive_key is not None)
        folded = self._archive.reader.folded.ids if self._archive is not None else frozenset()
        names = self._names()
        for name in self._open.keys() - names:
            self._drop(name)
        sources = [] if self._archive is None else [self._archive]
        for name in names:
            try:
                source = self._open.get(name) or self._open_one(name)
                if source.id in folded:
                    self._drop(name)
                    continue
                if source.id in self._refused:
                    skipped += 1
                    continue
                source.is_alive = is_alive(source.reader.path, source.reader.header)
                yield from source.read()
            except FileNotFoundError as problem:
                raise _ChangedError from problem
            except (InvalidSegmentError, OSError) as problem:
                if isinstance(problem, OSError) and problem.errno in _NOT_THE_FILES_FAULT:
                    raise  # without the file counters would fall
                skipped += 1
                self._skip(name, str(problem))
                continue
            sources.append(source)
        # A new file is for the next merge; one that is gone may be in an archive that was not read.
        if self._archive_key != self._current_archive_key() or not names <= self._names():
            raise _ChangedError
        self.skipped = skipped
        return sources

    def _names(self) -> set[str]:
        try:
            return {path.name for path in self._directory.iterdir() if path.name.endswith(SUFFIX)}
        except FileNotFoundError:
            return set()

    def _open_one(self, name: str) -> Source:
        reader = SegmentReader(self._directory / name)
        if reader.header.kind is not FileKind.SEGMENT or f"{reader.header.id.hex()}{SUFFIX}" != name:
            reader.close()
            raise InvalidSegmentError("it is not the file that its name says")
        source = self._open[name] = Source(reader)
        return source

    def _drop(self, name: str) -> None:
        if (source := self._open.pop(name, None)) is not None:
            source.reader.close()

    def _skip(self, name: str, reason: str) -> None:
        self._drop(name)
        if name not in self._reported:
            self._reported.add(name)
            # As a literal: the name of a foreign file may hold line ends.
            _logger.warning("metrics: %r is left out: %s", str(self._directory / name), reason)

    def _read_archive(self) -> Generator[None]:
        key = self._current_archive_key()
        if key != self._archive_key:
            self._close_archive()
        elif self._archive is None:
            return
        if key is None:
            return
        reader = None
        try:
            archive = self._archive
            if archive is None:
                reader = SegmentReader(self._directory / ARCHIVE)
                if reader.header.kind is not FileKind.ARCHIVE:
                    raise InvalidSegmentError("it is not an archive")
                archive = Source(reader)
            yield from archive.read()
            # Only now: a merge may be given up at any of its steps.
            self._archive, self._archive_key = archive, key
        except FileNotFoundError as problem:
            raise _ChangedError from problem
        except (InvalidSegmentError, OSError) as problem:
            self._close_archive()
            self._archive_key = key
            self._skip(ARCHIVE, str(problem))
        finally:
            if reader is not None and self._archive is None:
                reader.close()

    def _close_archive(self) -> None:
        if self._archive is not None:
            self._archive.reader.close()
        self._archive = None
        self._archive_key = None

    def _current_archive_key(self) -> tuple[int, int] | None:
        try:
            status = (self._directory / ARCHIVE).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns
