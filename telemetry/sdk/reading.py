"""The readers of a provider.

What each asks for, when it was last given something, and whether it may speak.
"""

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from telemetry.sdk.points import metrics_data
from telemetry.sdk.views import ReaderConfig

_logger = logging.getLogger(__name__)


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


class SharedMerge:
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
        """Close every file."""
        with self._lock:
            self._merger.close()

    @property
    def skipped_segments(self) -> int:
        """How many files the last merge left out."""
        return self._merger.sources.skipped

    @property
    def live_workers(self) -> int:
        """How many workers lived at the last merge."""
        return self._merger.live_workers

    @contextmanager
    def streams(self) -> Iterator[list[Stream]]:
        """Merge, waiting for whoever merges now, and hold the result still for the duration of a block."""
        with self._lock:
            merging = self._merger.merge()
            while True:
                try:
                    next(merging)
                except StopIteration as end:
                    yield end.value
                    return

    def stepwise(self) -> Generator[None, None, list[Stream]]:
        """Merge in steps; the result stays as it is until the next merge begins."""
        while not self._lock.acquire(blocking=False):
            yield
        try:
            return (yield from self._merger.merge())
        finally:
            self._lock.release()


def collect(
    attached: Attached, merge: SharedMerge, resource: Resource, directory: Path
) -> MetricsData | None:
    """Return what a reader is to be given now."""
    with merge.streams() as streams:
        now = clock.time_ns()
        base = DeltaBase(directory, attached.number)
        is_delta = attached.config.wants_delta
        if is_delta:
            base.load()
        taken = [stream for stream in streams if attached.config.takes(stream.definition)]
        data = metrics_data(taken, attached.config, base, resource, now, attached.collected)
        if is_delta:
            base.store(now)
    attached.collected = now
    return data
