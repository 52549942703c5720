"""One merge for all scrapes that came before it began to read, and never two at once."""

import asyncio
import logging
import threading
from collections.abc import Generator
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Protocol

from telemetry.sdk.merged import Merged

_logger = logging.getLogger(__name__)

OBSERVE_SECONDS = 1.0


class Source(Protocol):
    """What a scrape needs of a meter provider."""

    def merge(self) -> Generator[object, None, Merged]:
        """Yield between slices of work, and return what all workers have."""
        ...

    def observe(self) -> object:
        """Run this worker's callbacks; may block."""
        ...


class SharedMerge:
    """The merges of one event loop: one that runs, and one that waits for it and may be joined."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._running: asyncio.Task[Merged] | None = None
        self._waiting: asyncio.Task[Merged] | None = None
        self._observing: threading.Thread | None = None
        self._reported: set[str] = set()

    async def merged(self) -> Merged:
        """Return a merge that began to read after this call. What the provider raises is raised."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._run(self._running))
            # Where every scraper has gone away, nobody else asks what became of it.
            self._waiting.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A scraper that goes away leaves the merge to the others.
        return await asyncio.shield(self._waiting)

    async def _run(self, earlier: asyncio.Task[Merged] | None) -> Merged:
        try:
            if earlier is not None:
                await asyncio.wait([earlier])
            await self._observe()
        finally:
            self._running, self._waiting = self._waiting, None
        merge = self._source.merge()
        while True:
            try:
                next(merge)
            except StopIteration as end:
                merged: Merged = end.value
                # The next merge may put its own values into the same streams while these are shown.
                return replace(merged, streams=[copy(stream) for stream in merged.streams])
            await asyncio.sleep(0)

    async def _observe(self) -> None:
        """Run the callbacks in a thread of their own, for a limited time.

        One that hangs would hold a thread of the loop's executor for ever, and the process at its exit.
        """
        if self._observing is not None and self._observing.is_alive():
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def observe() -> None:
            try:
                self._source.observe()
            except Exception:  # noqa: BLE001 - a callback may raise anything
                self._report("callbacks of observable instruments failed; the scrape goes on", exc_info=True)
            # The loop may be closed by now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        try:
            self._observing = threading.Thread(target=observe, name="metrics-observe", daemon=True)
            self._observing.start()
            await asyncio.wait_for(done.wait(), OBSERVE_SECONDS)
        except TimeoutError:
            self._report("callbacks of observable instruments are slow; the scrape goes on without them")
        except RuntimeError:
            self._report("no thread can be started for callbacks; the scrape goes on without them")

    def _report(self, message: str, *, exc_info: bool = False) -> None:
        if message not in self._reported:
            self._reported.add(message)
            _logger.warning(message, exc_info=exc_info)
