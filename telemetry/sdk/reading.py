"""The readers of a provider.

What each asks for, when it was last given something, and whether it may speak.
"""

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MetricsTimeoutError
from opentelemetry.sdk.metrics.export import (
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from telemetry.sdk import clock
from telemetry.sdk.columns import Stream
from telemetry.sdk.delta import DeltaBase
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import MergedStream
from telemetry.sdk.points import metrics_data
from telemetry.sdk.views import ReaderConfig

_logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0


class PullReader(MetricReader):
    """The reader that an exposition stands for: its limits and aggregations are those of what a scrape shows.

    Always cumulative. A provider that is given none has one with the defaults.
    """

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        """Do nothing: a scrape merges by itself."""

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing."""


def is_push(reader: MetricReader) -> bool:
    """Tell whether a reader exports by itself, so that only one worker's may.

    By kind, or by its `push = True`.
    """
    return isinstance(reader, PeriodicExportingMetricReader) or bool(getattr(reader, "push", False))


class Attached:
    """A reader that is attached to a provider."""

    def __init__(self, reader: MetricReader, number: int) -> None:
        self.reader = reader
        self.config = ReaderConfig.of(reader)
        self.number = number
        self.is_push = is_push(reader)
        self.collected = 0
        self.has_failed = False

    def forget(self) -> None:
        """Free the reader's locks in a forked child: a thread of the parent may have been exporting.

        The official readers start their thread again in a child, and would then export no more.
        """
        locks: Any = (getattr(self.reader, "_export_lock", None), getattr(self.reader, "_lock", None))
        for lock in locks:
            if hasattr(lock, "_at_fork_reinit"):
                lock._at_fork_reinit()  # noqa: SLF001 - as the standard library does


class ExclusiveMerge:
    """The merge of a run, by one caller at a time. A generator waits by yielding, so that a loop goes on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._merger = Merger(directory)

    def forget(self) -> None:
        """Start anew in a forked child."""
        self._merger.close()
        self._lock = threading.Lock()
        self._merger = Merger(self._directory)

    def close(self) -> None:
        """Close every file, unless a merge was left half-way: its files are closed with it."""
        if self._lock.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._merger.close()
            finally:
                self._lock.release()

    @property
    def skipped_segments(self) -> int:
        """How many files the last merge left out."""
        return self._merger.sources.skipped

    @contextmanager
    def streams(self, timeout_seconds: float) -> Iterator[tuple[int, list[Stream]]]:
        """Merge, waiting for whoever merges now, and hold the result still for the duration of a block.

        With it comes the time in Unix nanoseconds of which it is: all that was measured before is in it.

        Raises MetricsTimeoutError: whoever merges now may be a generator of this same thread.
        """
        if not self._lock.acquire(timeout=max(0.0, timeout_seconds)):
            raise MetricsTimeoutError("another merge has not ended in time")
        try:
            now = clock.time_ns()
            merging = self._merger.merge()
            while True:
                try:
                    next(merging)
                except StopIteration as end:
                    yield now, end.value
                    return
        finally:
            self._merger.release()
            self._lock.release()

    def stepwise(self, config: ReaderConfig) -> Generator[None, None, list[MergedStream]]:
        """Merge in steps, and return the streams that a reader's configuration takes."""
        while not self._lock.acquire(blocking=False):
            yield
        try:
            streams = yield from self._merger.merge()
            return [copy(stream.merged) for stream in streams if config.takes(stream.definition)]
        finally:
            self._merger.release()
            self._lock.release()


def collect(
    attached: Attached, merge: ExclusiveMerge, resource: Resource, directory: Path, timeout_seconds: float
) -> MetricsData | None:
    """Return what a reader is to be given now; None where there is nothing.

    Raises MetricsTimeoutError, and OSError where what a delta reader is given cannot be kept: then it is as
    if it had not collected.
    """
    if not directory.exists():
        return None  # nothing was measured yet
    with ExitStack() as held:
        base = DeltaBase(directory, attached.number)
        if attached.config.wants_delta:
            held.enter_context(base.lock.exclusive())
            base.load()
        now, streams = held.enter_context(merge.streams(timeout_seconds))
        taken = [stream for stream in streams if attached.config.takes(stream.definition)]
        data = metrics_data(taken, attached.config, base, resource, now, attached.collected)
        if attached.config.wants_delta:
            base.store(now)
    attached.collected = now
    return data
