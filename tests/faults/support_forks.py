"""Children that are forked by a program of one thread, and never outlive it."""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from telemetry.sdk.locks import read_stat

_SET_PARENT_DEATH_SIGNAL = 1
_libc = ctypes.CDLL(None)


def forked(body: Callable[[], object]) -> int:
    """Fork a child that runs a function and ends, with status 0 if that did not raise; return its pid."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        run_and_exit(body, parent)
    return child


def run_and_exit(body: Callable[[], object], parent: int) -> NoReturn:
    """Run a function in a child and end it, without what a program does at its end."""
    status = 1
    try:
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            body()
            status = 0
    except BaseException:  # noqa: BLE001 - told, and then the child ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(pid: int) -> int:
    """Wait for a child to end, and return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(pid: int) -> None:
    """Kill a child at once and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL, "the child had ended by itself"


def is_there(pid: int) -> bool:
    """Tell whether a process runs."""
    stat = read_stat(pid)
    return stat is not None and stat.state != "Z"
