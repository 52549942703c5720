"""The locks by which workers tell the living from the dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.execution.workers import WorkerLock, dead_worker

HOLD = """
import sys
from pathlib import Path
from app.execution.workers import WorkerLock
lock = WorkerLock(Path(sys.argv[1]))
print(lock.worker, flush=True)
sys.stdin.read()
"""


def test_living_worker_is_left_alone(tmp_path: Path) -> None:
    """Neither this worker nor another living one is taken for dead."""
    lock = WorkerLock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        with dead_worker(tmp_path) as worker:
            assert worker is None
    lock.release(settled=True)


def test_killed_worker_is_found_once(tmp_path: Path) -> None:
    """A worker that was killed is found by the next look, and is gone once it is settled."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        name = other.stdout.readline().decode().strip()
        other.send_signal(signal.SIGKILL)
        other.wait()
    with dead_worker(tmp_path) as worker:
        assert worker == name
        with dead_worker(tmp_path) as second:
            assert second is None, "two workers settle the same one"
    with dead_worker(tmp_path) as worker:
        assert worker is None
    assert list(tmp_path.iterdir()) == []


def test_worker_that_could_not_be_settled_stays(tmp_path: Path) -> None:
    """Where settling fails the dead worker is found again."""
    WorkerLock(tmp_path).release(settled=False)
    with pytest.raises(ConnectionError), dead_worker(tmp_path):
        raise ConnectionError
    with dead_worker(tmp_path) as worker:
        assert worker is not None


def test_executed_programs_do_not_keep_the_lock(tmp_path: Path) -> None:
    """A program that a worker started does not keep it alive."""
    lock = WorkerLock(tmp_path)
    with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
        os.close(lock._descriptor)
        with dead_worker(tmp_path) as worker:
            assert worker == lock.worker
        child.kill()


def test_clean_release_leaves_nothing(tmp_path: Path) -> None:
    """A worker that stops in good order leaves no file."""
    WorkerLock(tmp_path).release(settled=True)
    assert list(tmp_path.iterdir()) == []
