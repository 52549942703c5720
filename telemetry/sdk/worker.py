"""This process's part of a run: its segment, made at the first measurement, and again in a forked child."""

import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from telemetry.sdk import clock
from telemetry.sdk.admission import Admissions
from telemetry.sdk.layout import SUFFIX, FileKind, Header, InvalidSegmentError, SeriesRecord, StreamRecord
from telemetry.sdk.locks import FileLock, ProcessIdentity, held_elsewhere, is_running
from telemetry.sdk.segment import SegmentWriter
from telemetry.sdk.snapshot import SegmentReader

_logger = logging.getLogger(__name__)


class Registration:
    """The lock over everything that adds to the segment.

    A signal handler may record while its thread holds the lock; what it records then is done when the lock is
    let go, by `defer`.
    """

    def __init__(self) -> None:
        # Taken and owned in one step: between two, a signal handler would wait for its own thread for ever.
        self._lock = threading.RLock()
        self._deferred: deque[Callable[[], object]] = deque()

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001 - as Condition does

    def defer(self, call: Callable[[], object]) -> None:
        """Make a call when this thread has let the lock go."""
        self._deferred.append(call)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for the duration of a block."""
        try:
            with self._lock:
                yield
        finally:
            # Also where the block has failed: what was deferred meanwhile has nothing to do with that.
            while self._deferred:
                self._make_deferred_call()

    def _make_deferred_call(self) -> None:
        try:
            self._deferred.popleft()()
        except IndexError:
            pass  # another thread has made it
        except Exception:
            _logger.exception("metrics: what a signal handler had measured could not be recorded")


class Worker:
    """The segment of this process. `epoch` grows whenever the segment is another one."""

    def __init__(self, open_directory: Callable[[], Path], on_open: Callable[[], None]) -> None:
        self.registration = Registration()
        self.epoch = 0
        self.dropped_series = 0
        self.slot = 0
        self._open_directory = open_directory
        self._on_open = on_open
        self._directory: Path | None = None
        self._admissions: Admissions | None = None
        self._segment: SegmentWriter | None = None
        self._streams = 0
        self._series = 0
        self._is_closed = False

    @property
    def directory(self) -> Path:
        """The run's directory, made if need be; raises OSError or DirectoryRefusedError."""
        # A root that ends removes it if no other process has measured; its children may do so later.
        if self._directory is None or not self._directory.is_dir():
            self._directory = self._open_directory()
        return self._directory

    @property
    def admissions(self) -> Admissions:
        """The run's admitted attribute sets."""
        if self._admissions is None:
            self._admissions = Admissions(self.directory)
        return self._admissions

    @property
    def segment(self) -> SegmentWriter | None:
        """The segment, where something was measured in this process."""
        return self._segment

    @property
    def is_closed(self) -> bool:
        """Whether the provider was shut down."""
        return self._is_closed

    def require_segment(self) -> SegmentWriter:
        """Return the segment, made if need be; the caller holds the registration. Raises OSError."""
        if self._segment is None:
            self._segment = self._create()
            self._streams = self._series = 0
            self.epoch += 1
            self._on_open()
        return self._segment

    def append_stream(self, record: StreamRecord) -> int:
        """Append a stream's record and return its number in the segment.

        The caller holds the registration.
        """
        self.require_segment().append_record(record.pack())
        self._streams += 1
        return self._streams - 1

    def append_series(self, record: SeriesRecord) -> int:
        """Append a series' record and return its number in the segment; the caller holds the registration."""
        self.require_segment().append_record(record.pack())
        self._series += 1
        return self._series - 1

    def drop(self, stream: str, problem: Exception) -> None:
        """Count a series that could not be made, and say so once."""
        self.dropped_series += 1
        if self.dropped_series == 1:
            _logger.error(
                "metrics: no space for a new series of %s (%s); such series are dropped until there is",
                stream,
                problem,
            )

    def forget(self) -> None:
        """Give up, in a forked child, what belongs to the parent."""
        segment, self._segment = self._segment, None
        self.registration = Registration()
        self.epoch += 1
        self.dropped_series = 0
        # The list of admissions is the run's and goes on; its lock may have been taken in the parent.
        self._admissions = None
        if segment is not None:
            segment.close(inherited=True)

    def close(self) -> None:
        """Let the segment go; the others then count what it holds as that of a dead worker."""
        if self.registration.is_mine:
            self.registration.defer(self.close)
            return
        with self.registration.held():
            self._is_closed = True
            segment, self._segment = self._segment, None
            self.epoch += 1
            if segment is not None:
                segment.heartbeat(clock.time_ns())
                segment.close()

    def _create(self) -> SegmentWriter:
        directory = self.directory
        own = ProcessIdentity.current()
        with FileLock(directory / "register.lock").exclusive():
            self.slot = _lowest_free_slot(directory)
            now = clock.time_ns()
            segment = SegmentWriter.create(
                directory,
                Header(
                    FileKind.SEGMENT,
                    uuid.uuid4().bytes,
                    own.boot_id,
                    own.pid,
                    own.start_time,
                    own.pid_namespace,
                    now,
                    self.slot,
                ),
            )
        segment.heartbeat(now)
        return segment


def is_alive(path: Path, header: Header) -> bool:
    """Tell whether the writer of a segment lives.

    Its lock tells; but a child that was forked from C keeps its parent's lock, and then the pid does.
    """
    if not held_elsewhere(path):
        return False
    writer = ProcessIdentity(header.pid, header.start_time, header.pid_namespace, header.boot_id)
    return header.pid == os.getpid() or is_running(writer) is not False


def live_slots(directory: Path) -> set[int]:
    """Return the slots of the workers that live."""
    taken = set()
    for path in directory.glob(f"*{SUFFIX}"):
        try:
            reader = SegmentReader(path)
        except (OSError, InvalidSegmentError):
            continue
        reader.close()
        if is_alive(path, reader.header):
            taken.add(reader.header.slot)
    return taken


def _lowest_free_slot(directory: Path) -> int:
    taken = live_slots(directory)
    return next(slot for slot in range(len(taken) + 1) if slot not in taken)
