"""Small programs that tests of processes start, and what becomes of them at the end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def started(
    command: list[str], environment: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in a session of its own and end all of it afterwards."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "PYTHONUNBUFFERED": "",  # where set, print() writes a line in two pieces
            **(environment or {}),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


def python(program: str, *arguments: str) -> list[str]:
    """Return the command that runs a program given as text."""
    return [sys.executable, "-c", program, *arguments]


def output(command: list[str], environment: dict[str, str] | None = None) -> list[str]:
    """Return the lines that a command writes, which must succeed."""
    with started(command, environment) as process:
        text, _ = process.communicate(timeout=30)
        assert process.returncode == 0, text
        return text.splitlines()


def line_of(process: "subprocess.Popen[str]") -> str:
    """Return the next line that a process writes."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so; fail after a generous while."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
