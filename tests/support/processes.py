"""Processes that a test starts, found again by a number that nothing else has in its arguments."""

import contextlib
import os
import secrets
import signal
import time
from pathlib import Path


def new_marker() -> str:
    """Return a number of seconds to sleep that no other process sleeps."""
    return f"98{secrets.randbelow(1000):03}.{secrets.randbelow(10**9):09}"


def marked(marker: str) -> dict[int, str]:
    """Return the living processes that have the marker in their arguments."""
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if marker in arguments:
                found[int(path.parent.name)] = arguments
    return found


def sleeping(marker: str) -> int:
    """Return how many `sleep`s carry the marker; the shells that start them carry it, too."""
    return sum(arguments.startswith("sleep ") for arguments in marked(marker).values())


def wait_until_gone(marker: str, seconds: float = 5.0) -> dict[int, str]:
    """Return the processes that are left once all have ended or the time is up."""
    deadline = time.monotonic() + seconds
    while (found := marked(marker)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def kill_marked(marker: str) -> None:
    """Kill what a failed test has left behind, and what that starts meanwhile."""
    while found := marked(marker):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
