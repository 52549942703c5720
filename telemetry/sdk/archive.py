"""Folding: what dead workers recorded moves into one archive, and a crash at any point changes no total.

The next archive is written into the reserve and renamed into place: that one step commits. It lists the
segments that it contains, which readers ignore from then on, and which are unlinked after.
"""

import errno
import logging
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from telemetry.sdk import clock
from telemetry.sdk.admission import Admissions
from telemetry.sdk.folding import Corrector, read_streams
from telemetry.sdk.hooks import Correction, FoldHook, Targets, call_hooks
from telemetry.sdk.image import ArchiveImage
from telemetry.sdk.layout import (
    ARCHIVE,
    SUFFIX,
    FileKind,
    FoldedRecord,
    Header,
    InvalidSegmentError,
    OtherVersionError,
)
from telemetry.sdk.locks import FileLock, held_elsewhere
from telemetry.sdk.reserve import RESERVE, grow_reserve, size_of
from telemetry.sdk.snapshot import SegmentReader
from telemetry.sdk.sources import FOLD_LOCK
from telemetry.sdk.worker import is_alive

_logger = logging.getLogger(__name__)

BROKEN = ".broken"
_MOST_BROKEN = 8
_MOST_AT_ONCE = 64
_NO_FILE = (errno.ELOOP, errno.ENXIO)
_TEMPORARY = ("*.new", ".delta-*", ".instance-*", ".run-*")
_STALE_SECONDS = 60.0
"""Whoever writes a temporary file renames it within moments: one as old as this was left by a crash."""


class _Dead(NamedTuple):
    path: Path
    header: Header


class _Archive(NamedTuple):
    paths: Sequence[Path]  # none or one
    generation: int
    folded: FoldedRecord

    @property
    def listed(self) -> set[str]:
        """The ids that it contains, as segments are named."""
        return {each.hex() for each in self.folded.ids}


_NO_ARCHIVE = _Archive((), 0, FoldedRecord(0, frozenset()))


class Folder:
    """Folds the dead of a directory, one process at a time. One thread at a time may use an object.

    `hooks` are asked about each dead segment, `targets` tells which streams an instrument has.
    """

    def __init__(self, directory: Path, hooks: Sequence[FoldHook], targets: Targets) -> None:
        self._directory = directory
        self._hooks = hooks
        self._targets = targets
        self._headers: dict[str, Header] = {}
        self._left_alone: set[str] = set()
        self._corrections: dict[bytes, list[Correction]] = {}
        self._has_failed = False

    def fold(self) -> int:
        """Fold the dead segments and return how many; 0 where another process folds or there is no space."""
        if not self._dead():
            return 0
        lock = FileLock(self._directory / FOLD_LOCK)
        try:
            if not lock.acquire_exclusive(blocking=False):
                return 0
            folded = self._fold()
            self._has_failed = False
        except OSError as problem:
            if not self._has_failed:
                self._has_failed = True
                _logger.error("metrics: dead workers stay in files of their own for now: %s", problem)
            return 0
        else:
            return folded
        finally:
            lock.release()

    def _dead(self) -> list[Path]:
        """Return the segments whose writers are dead, also those that cannot be read."""
        try:
            names = {path.name for path in self._directory.iterdir() if path.name.endswith(SUFFIX)}
        except FileNotFoundError:
            return []
        for name in self._headers.keys() - names:
            del self._headers[name]
        return [self._directory / name for name in sorted(names) if self._is_dead(name)]

    def _is_dead(self, name: str) -> bool:
        path = self._directory / name
        if name in self._left_alone:
            return False
        try:
            if name not in self._headers:
                reader = SegmentReader(path)
                reader.close()
                self._headers[name] = reader.header
            return not is_alive(path, self._headers[name])
        except FileNotFoundError:
            return False
        except OtherVersionError:
            # Whoever can read it folds it.
            self._left_alone.add(name)
            return False
        except (InvalidSegmentError, OSError):
            return not held_elsewhere(path)

    def _fold(self) -> int:
        archive = self._read_archive()
        dead = self._dead()
        # An earlier fold was stopped after its commit.
        left = [path for path in dead if path.stem in archive.listed]
        for path in left:
            path.unlink()
        segments = self._read_headers([path for path in dead if path not in left][:_MOST_AT_ONCE])
        folded = self._fold_what_fits(archive, segments)
        self._tidy()
        return folded

    def _read_archive(self) -> "_Archive":
        path = self._directory / ARCHIVE
        try:
            reader = SegmentReader(path)
            try:
                reader.refresh()
            finally:
                reader.close()
        except FileNotFoundError:
            return _NO_ARCHIVE
        except OtherVersionError as problem:
            raise OSError(f"{path} belongs to another version: {problem}") from problem
        except InvalidSegmentError as problem:
            self._set_aside(path, str(problem))
            return _NO_ARCHIVE
        return _Archive([path], reader.header.generation, reader.folded)

    def _read_headers(self, paths: Sequence[Path]) -> "list[_Dead]":
        found = []
        for path in paths:
            try:
                reader = SegmentReader(path)
                reader.close()
            except InvalidSegmentError as problem:
                self._set_aside(path, str(problem))
            except OSError as problem:
                if problem.errno not in _NO_FILE:
                    raise
                self._set_aside(path, str(problem))
            else:
                header = reader.header
                if header.kind is FileKind.SEGMENT and header.id.hex() == path.stem:
                    found.append(_Dead(path, header))
                else:
                    self._set_aside(path, "it is not the file that its name says")
        return found

    def _fold_what_fits(self, archive: "_Archive", dead: "Sequence[_Dead]") -> int:
        """Fold all at once, or on a full disk only the first: its space is there for the others then."""
        if not dead:
            return 0
        try:
            return self._fold_segments(archive, dead)
        except OSError:
            if len(dead) == 1:
                raise
        return self._fold_segments(archive, dead[:1])

    def _fold_segments(self, archive: "_Archive", dead: "Sequence[_Dead]") -> int:
        for each in dead:
            if each.header.id not in self._corrections:
                self._corrections[each.header.id] = self._ask_hooks(each.path)
        streams, broken = read_streams(self._directory, [*archive.paths, *(each.path for each in dead)])
        if broken:
            for path, reason in broken.items():
                self._set_aside(path, reason)
            return self._fold_what_fits(
                self._read_archive(), [each for each in dead if each.path not in broken]
            )
        now = clock.time_ns()
        corrector = Corrector(streams, self._targets, Admissions(self._directory))
        for each in dead:
            for correction in self._corrections[each.header.id]:
                corrector.apply(correction, each.header.created, now)
        image = ArchiveImage()
        for stream in streams.values():
            image.add(stream)
        header = Header(FileKind.ARCHIVE, uuid.uuid4().bytes, created=now, generation=archive.generation + 1)
        ids = frozenset(each.header.id for each in dead)
        self._commit(image.pack(header, FoldedRecord(archive.folded.count + len(dead), ids)))
        for each in dead:
            each.path.unlink()
            del self._corrections[each.header.id]
        return len(dead)

    def _ask_hooks(self, path: Path) -> list[Correction]:
        try:
            return call_hooks(self._hooks, path, self._targets)
        except InvalidSegmentError:
            return []  # reading it for the archive finds that out too

    def _commit(self, pieces: Sequence[bytes]) -> None:
        """Write the archive over the reserve, every byte of it, and rename it into place."""
        reserve = self._directory / RESERVE
        descriptor = os.open(reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            at = 0
            for piece in pieces:
                if os.pwrite(descriptor, piece, at) != len(piece):
                    raise OSError("there is no space for the archive")
                at += len(piece)
            os.ftruncate(descriptor, at)
            # A named directory outlasts a power failure: the name must not, before the content does.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        reserve.rename(self._directory / ARCHIVE)

    def _set_aside(self, path: Path, reason: str) -> None:
        """Keep a file that cannot be read under another name, so that it is not looked at for ever."""
        _logger.warning("metrics: %s cannot be folded and is kept as *%s: %s", path, BROKEN, reason)
        path.rename(path.with_name(path.name + BROKEN))

    def _tidy(self) -> None:
        """Make the next reserve, and remove what crashed writers left; best effort."""
        sizes = [size_of(path) for path in self._directory.glob(f"*{SUFFIX}")]
        with suppress(OSError):  # each segment tries again when it grows
            grow_reserve(self._directory, max(sizes, default=0))
        with suppress(OSError):
            now = time.time()
            for pattern in _TEMPORARY:
                for path in self._directory.glob(pattern):
                    if now - path.stat().st_mtime > _STALE_SECONDS and not held_elsewhere(path):
                        path.unlink()
            broken = sorted(self._directory.glob(f"*{BROKEN}"), key=lambda path: path.lstat().st_mtime)
            for path in broken[:-_MOST_BROKEN]:
                with suppress(OSError):  # a directory, say
                    path.unlink()
