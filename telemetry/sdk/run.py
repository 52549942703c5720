"""The directory that the processes of a run share: its name, its making, its removal after their death."""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from telemetry.sdk.locks import FileLock, ProcessIdentity, held_elsewhere, is_running
from telemetry.sdk.root import find_root

_RUN_FILE = "run"
_RUN_LOCK = "run.lock"
_INSTANCE_FILE = "instance"
_MAGIC = "otel-metrics-run-1"
_DIRECTORY = re.compile(r"otel-metrics-[0-9a-f]{16}-[0-9a-f]{32}", re.ASCII)
_REMOVED = ".removed"
_UNTOLD_SECONDS = 3600.0
"""How long a run must have been untouched to count as dead where its root cannot be told."""


class DirectoryRefusedError(Exception):
    """Raised where a directory cannot be trusted with the measurements of this process."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not used for metrics: {reason}")
        self.path = path
        self.reason = reason


def run_directory(service_namespace: str, service_name: str) -> Path:
    """Name the directory of this process's run of a service; makes nothing.

    Ask again after a fork: a worker that has changed its user cannot write to its parent's directory.
    """
    root = find_root()
    service = hashlib.sha256(repr((service_namespace, service_name)).encode()).hexdigest()
    run = hashlib.sha256(f"{service} {root.to_text()} {os.geteuid()}".encode()).hexdigest()
    return _base() / f"otel-metrics-{service[:16]}-{run[:32]}"


def open_run(path: Path) -> Path:
    """Make the directory that `run_directory` named, with a note of its root; raises as `open_directory`."""
    open_directory(path)
    if _read_line(path / _RUN_FILE) is None:
        _publish(path / _RUN_FILE, f"{_MAGIC} {find_root().to_text()}\n")
    return path


def open_directory(path: Path) -> Path:
    """Make a directory for this user alone, or check the one that is there.

    Raises DirectoryRefusedError for one that is a symbolic link, belongs to another user or can be written by
    others, OSError where it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(0o700)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise DirectoryRefusedError(path, "it is a symbolic link")
    if not stat.S_ISDIR(status.st_mode):
        raise DirectoryRefusedError(path, "it is not a directory")
    if status.st_uid != os.geteuid():
        raise DirectoryRefusedError(
            path, f"it belongs to user {status.st_uid}, this process is user {os.geteuid()}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise DirectoryRefusedError(path, f"others may write to it (mode {mode:04o}; `chmod go-w` it)")
    return path


def instance_id(directory: Path, configured: str | None = None) -> str:
    """Return the service.instance.id of a directory, made at the first call by any process.

    A configured one wins and is not kept. Raises OSError where the directory cannot be written.
    """
    if configured:
        return configured
    path = directory / _INSTANCE_FILE
    known = _read_line(path)
    if known is None:
        _publish(path, f"{uuid.uuid4()}\n")
        known = _read_line(path)
    if known is None:
        message = f"{path} cannot be read"
        raise OSError(message)
    return known


def dead_runs(base: Path, own: Path) -> Iterator[Path]:
    """Go through the directories in `base` of dead runs of the same service and user as `own`.

    While the body of the loop has a directory no other process gets it. A run is dead when its root is and no
    file of its directory is locked, since workers outlive a killed root and go on serving.
    """
    if not _DIRECTORY.fullmatch(own.name):
        return
    service = own.name.rpartition("-")[0]
    for path in sorted(base.glob(f"{service}-*")):
        if path == own or not _is_ours(path):
            continue
        if path.name.endswith(_REMOVED):
            _delete(path)  # its remover was killed
            continue
        if not _DIRECTORY.fullmatch(path.name) or not _has_dead_root(path):
            continue
        claim = FileLock(path / _RUN_LOCK)
        try:
            # Whoever had the claim before may have removed the directory meanwhile.
            if claim.acquire_exclusive(blocking=False) and not _is_locked(path):
                yield path
        except OSError:
            continue
        finally:
            claim.release()


def remove_run(path: Path) -> None:
    """Remove the directory of a dead run, unless a worker joins it at this moment."""
    removed = path.with_name(path.name + _REMOVED)
    try:
        path.rename(removed)  # from here on no worker can find it to join
    except OSError:
        return
    if _is_locked(removed):
        with suppress(OSError):
            removed.rename(path)
        return
    _delete(removed)


def _base() -> Path:
    """Return where runs have their directories: in memory where there is such a place."""
    shared = Path("/dev/shm")  # noqa: S108 (a directory of one user is made in it and checked)
    if _is_tmpfs(shared) and _accepts(shared):
        return shared
    mine = os.environ.get("XDG_RUNTIME_DIR", "")
    if Path(mine).is_absolute() and _accepts(Path(mine)):
        return Path(mine)
    return Path(tempfile.gettempdir())


def _is_tmpfs(path: Path) -> bool:
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kinds = [fields[2] for line in mounts if len(fields := line.split(" ")) > 2 and fields[1] == str(path)]
    return kinds[-1:] == ["tmpfs"]  # the last mount covers those before it


def _accepts(path: Path) -> bool:
    """Tell whether files can be made there that no other user can replace."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    exposed = mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX
    return stat.S_ISDIR(mode) and not exposed and os.access(path, os.W_OK | os.X_OK)


def _publish(path: Path, line: str) -> None:
    """Write a file that appears complete or not at all; the first of several writers wins."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(name, path)
        except FileExistsError:
            if _read_line(path) is None:
                os.replace(name, path)  # noqa: PTH105 (beside os.link); damaged, as by a power failure
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 (beside os.link)


def _read_line(path: Path) -> str | None:
    """Read a file of one short line; None where it is missing or anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        content = os.read(descriptor, 257)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    text = content.decode("ascii", errors="replace").removesuffix("\n")
    complete = len(content) <= 256 and content.endswith(b"\n")
    return text if complete and text and text.isascii() and text.isprintable() else None


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _has_dead_root(path: Path) -> bool:
    magic, _, text = (_read_line(path / _RUN_FILE) or "").partition(" ")
    root = ProcessIdentity.from_text(text) if magic == _MAGIC else None
    running = None if root is None else is_running(root)
    return _is_untouched(path) if running is None else not running


def _is_untouched(path: Path) -> bool:
    try:
        times = [path.stat().st_mtime, *(each.lstat().st_mtime for each in path.iterdir())]
    except OSError:
        return False
    return time.time() - max(times) > _UNTOLD_SECONDS


def _is_locked(path: Path) -> bool:
    try:
        return any(held_elsewhere(each) for each in path.iterdir() if each.name != _RUN_LOCK)
    except OSError:
        return True  # removed meanwhile, or not to be judged


def _delete(path: Path) -> None:
    if not _is_locked(path):
        shutil.rmtree(path, ignore_errors=True)
