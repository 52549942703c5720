"""What happens to the SDK when its process forks; the only place that knows.

A child starts with nothing of its own: the parent's locks are closed, not unlocked, its segment is let go,
and threads are not there. Its segment is made at its first record: `subprocess` with a `preexec_fn` runs the
hooks too, and should not leave files behind.
"""

import os
import weakref
from typing import Protocol

from telemetry.sdk import locks


class Forkable(Protocol):
    """What a provider does in a forked child."""

    def after_fork_in_child(self) -> None:
        """Give up what belongs to the parent."""


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()


def register(forkable: Forkable) -> None:
    """Have a provider told when its process was forked, for as long as it exists."""
    _forkables.add(forkable)


def _after_fork_in_child() -> None:
    locks.close_inherited()
    for forkable in list(_forkables):
        forkable.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=locks.before_fork,
        after_in_parent=locks.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
