"""Which workers of this host are alive: each holds a kernel lock on a file for as long as it lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


class WorkerLock:
    """Hold this worker's lock; the kernel gives it back however the worker ends.

    The file appears under its name only once it is locked, so that nobody takes a new worker for a dead one.
    The descriptor is close-on-exec and never shared: a lock that a child inherits would outlive the worker.
    """

    def __init__(self, directory: Path) -> None:
        self.worker = uuid4().hex
        self._path = directory / f"{self.worker}.lock"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = directory / f".{self.worker}"
        self._descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        hidden.rename(self._path)

    def release(self, *, settled: bool) -> None:
        """Give the lock back; an unsettled worker's file stays, so that another settles its executions."""
        if settled:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


@contextmanager
def dead_worker(directory: Path) -> Iterator[str | None]:
    """Give the id of a dead worker, None if there is none; its file goes if the block ends without an error.

    The dead worker's lock is held meanwhile, so that no two workers settle the same one.
    """
    for path in sorted(directory.glob("*.lock")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not path.exists():
                continue
            yield path.stem
            path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)
    yield None
