"""Which worker of a run exports for all: one holds a kernel lock, and when it dies the next one gets it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from telemetry.sdk.locks import FileLock, held_elsewhere
from telemetry.sdk.run import DirectoryRefusedError

_POLL_SECONDS = 0.02


class Leadership:
    """This worker's claim to export for the run. Safe for concurrent use."""

    def __init__(self, path: Path, prepare: Callable[[], object]) -> None:
        self._file = FileLock(path / "leader.lock")
        # Held by a leader that shuts down, from before its last collection until it leads no more.
        self._leaving = FileLock(path / "leaving.lock")
        self._prepare = prepare
        self._lock = threading.Lock()
        self._is_over = False

    @property
    def is_held(self) -> bool:
        """Whether this worker leads."""
        return self._file.held

    def take(self) -> bool:
        """Lead from now on if no other worker does, and return whether this one does."""
        with self._lock:
            return self._take()

    def take_last(self, timeout_seconds: float) -> bool:
        """Lead for the last export of this worker.

        False where another worker leads that has yet to collect, or in the time does not let go.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._lock:
                # Looked at first: a leader that was not leaving yet will still collect what is recorded here.
                is_leaving = held_elsewhere(self._leaving.path)
                if self._take():
                    if not self._leaving.held:
                        with suppress(OSError):
                            self._leaving.acquire_exclusive()
                    return True
            if not is_leaving or time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)

    def forget(self) -> None:
        """Start with a free lock in a forked child, which does not lead."""
        self._lock = threading.Lock()

    def release(self) -> None:
        """Let another worker lead, and do not lead again."""
        with self._lock:
            self._is_over = True
            # In this order: whoever finds nobody leaving must be able to lead.
            self._file.release()
            self._leaving.release()

    def _take(self) -> bool:
        if self._is_over:
            return False
        if self._file.held:
            return True
        try:
            self._prepare()
            return self._file.acquire_exclusive(blocking=False)
        except (OSError, DirectoryRefusedError):
            return False
