"""Which worker of a run exports for all: one holds a kernel lock, and when it dies the next one gets it."""

import threading
from collections.abc import Callable
from pathlib import Path

from telemetry.sdk.locks import FileLock


class Leadership:
    """This worker's claim to export for the run. Safe for concurrent use."""

    def __init__(self, path: Path, prepare: Callable[[], object]) -> None:
        self._file = FileLock(path / "leader.lock")
        self._prepare = prepare
        self._lock = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether this worker leads."""
        return self._file.held

    def take(self) -> bool:
        """Lead from now on if no other worker does, and return whether this one does."""
        with self._lock:
            if self._file.held:
                return True
            try:
                self._prepare()
                return self._file.acquire_exclusive(blocking=False)
            except OSError:
                return False

    def forget(self) -> None:
        """Start with a free lock in a forked child, which does not lead."""
        self._lock = threading.Lock()

    def release(self) -> None:
        """Let another worker lead."""
        with self._lock:
            self._file.release()
