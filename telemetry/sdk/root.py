"""Find the processes that belong together, a run.

A run is named by its root: the process from which the others were forked, or started by multiprocessing.
"""

import os
from multiprocessing import parent_process
from pathlib import Path
from typing import NamedTuple

from telemetry.sdk.locks import ProcessIdentity, read_stat

KEY = "OTEL_METRICS_RUN"
"""The environment variable that tells a process started by multiprocessing its parent's run."""


class _Captured(NamedTuple):
    root: ProcessIdentity
    by: int


_captured: _Captured | None = None


def find_root() -> ProcessIdentity:
    """Return the process that names this one's run, found at the first call and kept across forks.

    Call it early: workers outlive a killed parent, and cannot find it afterwards.
    """
    global _captured  # noqa: PLW0603 (belongs to the process, as its pid does)
    captured = _captured
    if captured is None or captured.by != os.getpid():
        root = _search() if captured is None else captured.root
        # Written again in a forked child, so that its own pools join when its parent is gone.
        os.environ[KEY] = f"{root.to_text()} {ProcessIdentity.current().to_text()}"
        _captured = captured = _Captured(root, os.getpid())
    return captured.root


def _search() -> ProcessIdentity:
    parent = parent_process()
    start = os.getpid() if parent is None or parent.pid is None else parent.pid
    family = _family(start)
    if parent is not None and (left := _left_by_parent()) is not None:
        root, by = left
        # Left by somebody else it came through an executed command, which is a service of its own.
        if by in family or (not family and by.pid == start):
            return root
    return (family or [ProcessIdentity.current()])[-1]


def _family(pid: int) -> list[ProcessIdentity]:
    """Return a process and those of its ancestors from which it was forked without exec, nearest first."""
    found: list[ProcessIdentity] = []
    while (identity := ProcessIdentity.of(pid)) is not None and identity not in found:
        found.append(identity)
        if (parent := _parent_of_same_image(pid)) is None:
            break
        pid = parent
    return found


def has_forks() -> bool:
    """Tell whether a child runs that was forked from this process without exec, and so belongs to its run."""
    own = os.getpid()
    for path in Path("/proc").glob("[0-9]*"):
        stat = read_stat(int(path.name))
        is_child = stat is not None and stat.parent == own and stat.state not in {"Z", "X", "x"}
        if is_child and _parent_of_same_image(int(path.name)) == own:
            return True
    return False


def _parent_of_same_image(pid: int) -> int | None:
    own = read_stat(pid)
    parent = None if own is None else read_stat(own.parent)
    if own is None or parent is None or parent.start_time > own.start_time:
        return None
    if 0 in {own.start_stack, parent.start_stack}:
        # Hidden where a parent keeps the privileges that its workers gave up, and in some sandboxes.
        same = _command_line(pid) == _command_line(own.parent) != b""
    else:
        # Both are drawn at random at each exec, and copied by a fork.
        same = (own.start_code, own.start_stack) == (parent.start_code, parent.start_stack)
    return own.parent if same else None


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _left_by_parent() -> tuple[ProcessIdentity, ProcessIdentity] | None:
    """Return the root that the environment tells and who left it; None where it is from elsewhere."""
    first, _, second = os.environ.get(KEY, "").partition(" ")
    root, by = ProcessIdentity.from_text(first), ProcessIdentity.from_text(second)
    if root is None or by is None:
        return None
    here = ProcessIdentity.current()[2:]
    if root[2:] != here or by[2:] != here:
        return None
    return root, by
