"""Tell the living from the dead: lock files that no child inherits, identities that outlast a pid."""

import errno
import fcntl
import functools
import os
import re
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

_UNKNOWN_BOOT = bytes(16)
_IDENTITY = re.compile(r"(\d{1,19})-(\d{1,19})-(\d{1,19})-([0-9a-f]{32})", re.ASCII)


class _Guard:
    """What the fork hooks share with every lock: the open descriptors, and a mutex over opening them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # Reentrant: a signal handler may need a lock while this thread is opening another.
        self.opening = threading.RLock()
        self.locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """Hold a kernel lock (flock) on a file through a descriptor that nothing else uses.

    The kernel frees it however its process ends. POSIX record locks would be lost at any close of the file.
    One thread at a time may use an object; each object excludes every other, in this process too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._owner = 0

    @property
    def held(self) -> bool:
        """Tell whether this process holds the lock through this object."""
        return self._descriptor is not None and self._owner == os.getpid()

    def acquire_exclusive(self, *, blocking: bool = True) -> bool:
        """Take the lock alone, making the file where missing; False where it is held and not `blocking`.

        Raises OSError where the file cannot be opened, RuntimeError where this object holds the lock.
        """
        return self._acquire(fcntl.LOCK_EX, blocking=blocking)

    def acquire_shared(self, *, blocking: bool = True) -> bool:
        """Take the lock beside other sharers; returns and raises as `acquire_exclusive`."""
        return self._acquire(fcntl.LOCK_SH, blocking=blocking)

    def release(self) -> None:
        """Free the lock; harmless where it is not held."""
        if self.held and self._descriptor is not None:
            # Closing would not free it: a child that was forked from C, not executed yet, shares it.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.forget_after_fork()

    def forget_after_fork(self) -> None:
        """Close the descriptor and leave the lock to the parent, from which it was inherited."""
        with _guard.opening:
            descriptor, self._descriptor = self._descriptor, None
            _guard.locks.discard(self)
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def exclusive(self) -> Iterator[Self]:
        """Hold the lock alone for the duration of a block, waiting for it."""
        self.acquire_exclusive()
        try:
            yield self
        finally:
            self.release()

    @contextmanager
    def shared(self) -> Iterator[Self]:
        """Hold the lock beside other sharers for the duration of a block, waiting for it."""
        self.acquire_shared()
        try:
            yield self
        finally:
            self.release()

    def _acquire(self, kind: int, *, blocking: bool) -> bool:
        if self.held:
            message = f"{self.path} is locked by this object already"
            raise RuntimeError(message)
        self.forget_after_fork()
        return self._lock(os.O_RDWR | os.O_CREAT, kind, blocking=blocking)

    def _lock(self, flags: int, kind: int, *, blocking: bool) -> bool:
        # A fork between opening and registering would leave the child a descriptor that keeps the lock.
        with _guard.opening:
            descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
            self._descriptor, self._owner = descriptor, os.getpid()
            _guard.locks.add(self)
        try:
            fcntl.flock(descriptor, kind if blocking else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self.forget_after_fork()
            return False
        except BaseException:
            self.forget_after_fork()
            raise
        return True

    def __del__(self) -> None:
        # Never LOCK_UN: in a forked child it would free the parent's lock.
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)


_guard = _Guard()


def before_fork() -> None:
    """Keep the locks still while the process forks; pair with one of the next two."""
    _guard.opening.acquire()


def after_fork_in_parent() -> None:
    """Let locks be opened again."""
    _guard.opening.release()


def close_inherited() -> None:
    """Close, in a forked child, the descriptors of the parent's locks without unlocking them."""
    inherited = list(_guard.locks)
    _guard.reset()
    for lock in inherited:
        lock.forget_after_fork()


def held_elsewhere(path: Path) -> bool:
    """Tell whether a `FileLock` object, of this process or another, holds the file exclusively.

    A missing file and a symbolic link are not held; one that cannot be opened is taken for held. The probe
    shares the lock for an instant, so that a non-blocking `acquire_exclusive` elsewhere may fail once
    without there being a holder.
    """
    probe = FileLock(path)
    try:
        # Without O_NONBLOCK a FIFO of that name would block for ever.
        return not probe._lock(os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, fcntl.LOCK_SH, blocking=False)  # noqa: SLF001 (same module)
    except OSError as error:
        # Without a free descriptor, for one, nothing is known, and the living must not be taken for dead.
        return error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
    finally:
        probe.release()


class ProcessStat(NamedTuple):
    """What /proc/PID/stat says: proc_pid_stat(5)."""

    state: str
    parent: int
    start_time: int
    start_code: int
    start_stack: int


def parse_stat(content: bytes) -> ProcessStat | None:
    """Read the content of /proc/PID/stat; None where it is not of that form."""
    # The program's name, the second field, may hold spaces, parentheses and line ends.
    fields = content.rpartition(b")")[2].split()
    try:
        return ProcessStat(
            state=fields[0].decode("ascii"),
            parent=int(fields[1]),
            start_time=int(fields[19]),
            start_code=int(fields[23]),
            start_stack=int(fields[25]),
        )
    except (IndexError, ValueError):
        return None


def read_stat(pid: int) -> ProcessStat | None:
    """Read /proc/PID/stat; None where there is no such process or /proc does not tell.

    Without the right to trace the process, the start of its code is 1 and that of its stack 0.
    """
    try:
        # A /proc that was mounted for another pid namespace describes other processes under our pids.
        if pid != os.getpid() and os.readlink("/proc/self") != str(os.getpid()):  # noqa: PTH115 (no path wanted)
            return None
        name = "self" if pid == os.getpid() else str(pid)
        return parse_stat(Path(f"/proc/{name}/stat").read_bytes())
    except OSError:
        return None


class ProcessIdentity(NamedTuple):
    """Name a process for ever: a pid alone is used again, and means nothing in another container.

    `start_time` is in clock ticks since the boot, 0 where the system does not tell; `pid_namespace` is an
    inode, 0 likewise; `boot_id` has 16 bytes.
    """

    pid: int
    start_time: int
    pid_namespace: int
    boot_id: bytes

    @classmethod
    def current(cls) -> "ProcessIdentity":
        """Identify this process."""
        return cls.of(os.getpid()) or cls(os.getpid(), 0, _pid_namespace(), _boot_id())

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """Identify a process of this pid namespace; None where there is none."""
        stat = read_stat(pid)
        if stat is None and not _exists(pid):
            return None
        return cls(pid, 0 if stat is None else stat.start_time, _pid_namespace(), _boot_id())

    @classmethod
    def from_text(cls, text: str) -> "ProcessIdentity | None":
        """Read what `to_text` wrote; None for anything else."""
        if (match := _IDENTITY.fullmatch(text)) is None:
            return None
        pid, start_time, pid_namespace, boot_id = match.groups()
        return cls(int(pid), int(start_time), int(pid_namespace), bytes.fromhex(boot_id))

    def to_text(self) -> str:
        """Write the identity as one word of ASCII."""
        return f"{self.pid}-{self.start_time}-{self.pid_namespace}-{self.boot_id.hex()}"


def is_running(identity: ProcessIdentity) -> bool | None:
    """Tell whether the process runs; None where it is of another pid namespace or boot and cannot be told.

    A zombie does not run, and neither does one whose pid another process has by now.
    """
    if (identity.pid_namespace, identity.boot_id) != (_pid_namespace(), _boot_id()):
        return None
    stat = read_stat(identity.pid)
    if stat is None:
        return _exists(identity.pid)
    if stat.state in {"Z", "X", "x"}:
        return False
    return identity.start_time in {0, stat.start_time}


def _exists(pid: int) -> bool:
    """Ask the kernel, where /proc is absent or hides the processes of other users."""
    if pid <= 0:
        return False  # a process group to kill(2)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _pid_namespace() -> int:
    # Not kept: a child may have been forked into a new namespace.
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


@functools.cache
def _boot_id() -> bytes:
    try:
        return bytes.fromhex(
            Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip().replace("-", "")
        )
    except (OSError, ValueError):
        return _UNKNOWN_BOOT
