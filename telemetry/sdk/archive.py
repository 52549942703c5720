"""Folding: what dead workers recorded moves into one archive, and a crash at any point changes no total.

The next archive is written into the reserve and renamed into place: that one step commits. It lists the
segments that it contains, which readers ignore from then on, and which are unlinked after.
"""

import logging
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from telemetry.sdk import clock
from telemetry.sdk.admission import Admissions
from telemetry.sdk.folding import Corrector, archived
from telemetry.sdk.hooks import Correction, FixedSources, FoldHook, Targets, call_hooks, finish
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
from telemetry.sdk.merge import Merger
from telemetry.sdk.reserve import RESERVE, grow_reserve, size_of
from telemetry.sdk.snapshot import SegmentReader
from telemetry.sdk.sources import FOLD_LOCK, Source
from telemetry.sdk.worker import is_alive

_logger = logging.getLogger(__name__)

BROKEN = ".broken"
_MOST_BROKEN = 4
_TEMPORARY = ("*.new", ".delta-*", ".instance-*", ".run-*")
_STALE_SECONDS = 60.0
"""Whoever writes a temporary file renames it within moments: one as old as this was left by a crash."""


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
        archive = self._open_archive()
        try:
            listed = frozenset() if archive is None else archive.reader.folded.ids
            dead = self._dead()
            # An earlier fold was stopped after its commit.
            left = [path for path in dead if path.stem in {each.hex() for each in listed}]
            for path in left:
                path.unlink()
            sources = self._open_segments([path for path in dead if path not in left])
            try:
                folded = self._fold_what_fits(archive, sources)
            finally:
                for source in sources:
                    source.reader.close()
        finally:
            if archive is not None:
                archive.reader.close()
        self._tidy()
        return folded

    def _open_archive(self) -> Source | None:
        path = self._directory / ARCHIVE
        try:
            reader = SegmentReader(path)
        except FileNotFoundError:
            return None
        except OtherVersionError as problem:
            raise OSError(f"{path} belongs to another version: {problem}") from problem
        except InvalidSegmentError as problem:
            self._set_aside(path, str(problem))
            return None
        try:
            reader.refresh()
        except InvalidSegmentError as problem:
            reader.close()
            self._set_aside(path, str(problem))
            return None
        except BaseException:
            reader.close()
            raise
        return Source(reader)

    def _open_segments(self, paths: Sequence[Path]) -> list[Source]:
        found = []
        for path in paths:
            try:
                reader = SegmentReader(path)
            except InvalidSegmentError as problem:
                self._set_aside(path, str(problem))
                continue
            if reader.header.kind is not FileKind.SEGMENT or reader.header.id.hex() != path.stem:
                reader.close()
                self._set_aside(path, "it is not the file that its name says")
                continue
            found.append(Source(reader))
        return found

    def _fold_what_fits(self, archive: Source | None, sources: Sequence[Source]) -> int:
        """Fold all at once, or on a full disk only the first: its space is there for the others then."""
        if not sources:
            return 0
        try:
            return self._fold_sources(archive, sources)
        except OSError:
            if len(sources) == 1:
                raise
        return self._fold_what_fits(archive, sources[:1])

    def _fold_sources(self, archive: Source | None, dead: Sequence[Source]) -> int:
        for source in dead:
            if source.id not in self._corrections:
                self._corrections[source.id] = self._ask_hooks(source)
        given = [*dead] if archive is None else [archive, *dead]
        merger = Merger(self._directory)
        merger.sources = fixed = FixedSources(self._directory, [_again(source) for source in given])
        try:
            streams = finish(archived(finish(merger.merge())))
            broken = {source.reader.path: reason for source, reason in fixed.broken.items()}
        finally:
            fixed.close()
        if broken:
            for path, reason in broken.items():
                self._set_aside(path, reason)
            dead = [source for source in dead if source.reader.path not in broken]
            if archive is not None and archive.reader.path in broken:
                archive = None
            return self._fold_sources(archive, dead) if dead else 0
        now = clock.time_ns()
        corrector = Corrector(streams, self._targets, Admissions(self._directory))
        for source in dead:
            for correction in self._corrections[source.id]:
                corrector.apply(correction, source.reader.header.created, now)
        image = ArchiveImage()
        for stream in streams.values():
            image.add(stream)
            time.sleep(0)
        generation = 1 if archive is None else archive.reader.header.generation + 1
        count = len(dead) + (0 if archive is None else archive.reader.folded.count)
        self._commit(
            image.pack(
                Header(FileKind.ARCHIVE, uuid.uuid4().bytes, created=now, generation=generation),
                FoldedRecord(count, frozenset(source.id for source in dead)),
            )
        )
        for source in dead:
            source.reader.path.unlink()
            del self._corrections[source.id]
        return len(dead)

    def _ask_hooks(self, source: Source) -> list[Correction]:
        try:
            return call_hooks(self._hooks, source.reader.path, self._targets)
        except InvalidSegmentError:
            return []  # the merge finds that out too

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
            broken = sorted(self._directory.glob(f"*{BROKEN}"), key=lambda path: path.stat().st_mtime)
            for path in broken[:-_MOST_BROKEN]:
                path.unlink()


def _again(source: Source) -> Source:
    """Return a source of the same file with nothing read yet, for a merge of its own."""
    return Source(SegmentReader(source.reader.path))
