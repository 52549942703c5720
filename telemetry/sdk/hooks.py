"""Fold hooks: the layer above sees what a dead worker left, and returns what is to be counted for it."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from opentelemetry.util.types import AnyValue

from telemetry.sdk.columns import Stream
from telemetry.sdk.layout import ARCHIVE, SUFFIX, InvalidSegmentError
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import SeriesAttributes, Value
from telemetry.sdk.notes import read_notes
from telemetry.sdk.snapshot import SegmentReader
from telemetry.sdk.sources import Source, Sources
from telemetry.sdk.store import Store

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_WORK_SECONDS = 0.002
_PAUSE_SECONDS = 0.0005


class Target(NamedTuple):
    """A stream of an instrument, and the name to show."""

    store: Store
    name: str


Targets = Callable[[Any], Sequence[Target]]


class Correction(NamedTuple):
    """A measurement that a dead worker did not make: counted as if an instrument had been given it."""

    instrument: Any
    amount: float
    attributes: Mapping[str, AnyValue] | None = None


class DeadWorker:
    """What a dead worker left. Times are in Unix nanoseconds; valid only while the hook runs."""

    def __init__(self, path: Path, targets: Targets) -> None:
        self._targets = targets
        self._reader = SegmentReader(path)
        try:
            self._reader.refresh()
            self.notes: list[bytes] = read_notes(self._reader)
        except BaseException:
            self._reader.close()
            raise
        header = self._reader.header
        self.id: bytes = header.id
        self.pid: int = header.pid
        self.created: int = header.created
        self.heartbeat: int = self._reader.heartbeat
        self._streams: dict[bytes, Stream] | None = None

    def points(self, instrument: Any) -> list[tuple[SeriesAttributes, Value]]:
        """Return what the worker had measured with an instrument, as its first stream shows it."""
        targets = self._targets(instrument)
        if not targets:
            return []
        stream = self._merged().get(targets[0].store.definition.to_text())
        if stream is None:
            return []
        merged = stream.merged
        return [
            (attributes, value)
            for attributes, value in zip(merged.attributes, merged.values, strict=True)
            if value is not None
        ]

    def close(self) -> None:
        """Close the segment."""
        self._reader.close()

    def _merged(self) -> dict[bytes, Stream]:
        if self._streams is None:
            source = Source(self._reader)
            # Also what no longer counts once it is dead is told: as the worker itself last saw it.
            source.is_alive = True
            merger = Merger(self._reader.path.parent)
            merger.sources = sources = FixedSources(self._reader.path.parent)
            sources.add(source)
            self._streams = {stream.text: stream for stream in finish(merger.merge())}
        return self._streams


FoldHook = Callable[[DeadWorker], Iterable[Correction]]


class FixedSources(Sources):
    """Files of the dead, which nobody changes; those that turn out not to be readable are `broken`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._given: list[Source] = []
        self.broken: dict[Source, str] = {}

    def add(self, source: Source) -> None:
        """Have a file read, which is closed with the others."""
        self._given.append(source)

    def read(self) -> Generator[None, None, list[Source]]:
        """Read everything, yielding between pieces of work, and return the sources."""
        for source in self._given:
            try:
                yield from source.read()
            except InvalidSegmentError as problem:
                self.broken[source] = str(problem)
        return [source for source in self._given if source not in self.broken]

    def discard(self, source: Source, reason: str) -> None:
        """Note that a source cannot be read."""
        self.broken[source] = reason

    def close(self) -> None:
        """Close every file."""
        for source in self._given:
            source.reader.close()


def finish(steps: Generator[None, None, _T]) -> _T:
    """Run a generator to its end, letting other threads have the interpreter now and then."""
    began = time.monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        if time.monotonic() - began > _WORK_SECONDS:
            time.sleep(_PAUSE_SECONDS)
            began = time.monotonic()


def call_hooks(hooks: Iterable[FoldHook], path: Path, targets: Targets) -> list[Correction]:
    """Return what all hooks want corrected for a dead segment; one that raises corrects nothing.

    Raises InvalidSegmentError for a segment that cannot be read.
    """
    found: list[Correction] = []
    for hook in list(hooks):
        dead = DeadWorker(path, targets)
        try:
            found.extend([_checked(each) for each in hook(dead)])
        except Exception:
            _logger.exception("metrics: a fold hook failed for %s, which is folded without it", path.name)
        finally:
            dead.close()
    return found


def _checked(correction: object) -> Correction:
    if not isinstance(correction, Correction):
        raise TypeError(f"{correction!r} is no Correction")
    return correction


def tell_dead_run(directory: Path, hooks: Sequence[FoldHook], targets: Targets) -> None:
    """Show all workers of a dead run to the hooks; its numbers end with it, and so do their corrections."""
    told: set[str] = set()
    try:
        archive = SegmentReader(directory / ARCHIVE)
        try:
            archive.refresh()
            told = {each.hex() for each in archive.folded.ids}
        finally:
            archive.close()
    except (OSError, InvalidSegmentError):
        pass  # none was folded yet, or it cannot be told: a hook rather hears of a worker twice
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        if path.stem in told:
            continue
        try:
            call_hooks(hooks, path, targets)
        except (OSError, InvalidSegmentError) as problem:
            _logger.warning("metrics: what %s holds cannot be told: %s", path, problem)
