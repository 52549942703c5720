"""Commands on this machine."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from app.errors import SessionError
from app.runners import launcher
from app.runners.base import CommandResult, Outcome, Session, Target
from app.runners.command import GRACE, Recording, encode_command, wait_for_end
from app.runners.output import OutputCollector

# Nothing else of the backend's environment reaches a command, nor the launcher, which a command can read.
_ENVIRONMENT = frozenset({"PATH", "HOME", "LANG", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ"})

# The pipes of dead writers end at once; only a process that would not die holds one open. In seconds.
_DRAIN = 1.0


def command_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return what a command may see of an environment."""
    allowed = {key: value for key, value in values.items() if key in _ENVIRONMENT or key.startswith("LC_")}
    return {"PATH": os.defpath, **allowed, "TERM": "dumb"}


class LocalRunner:
    """Run commands on this machine, as the user that the backend runs as.

    `shell` is the program that gets a command as its last argument; it starts in `directory`, by default the
    user's home.
    """

    def __init__(self, shell: Sequence[str] = ("bash", "-c"), directory: Path | None = None) -> None:
        self._shell = tuple(shell)
        self._directory = directory

    async def connect(self, target: Target) -> Session:
        """Return a session; raises SessionError if no process can be started."""
        home = Path.home()
        directory = self._directory or (home if home.is_dir() else Path("/"))
        try:
            return LocalSession(self._shell, directory)
        except OSError as error:
            raise SessionError(f"{target.tag}: no process can be started here: {error}") from error


class LocalSession:
    """A launcher process, and the socket over which it is told what to run."""

    def __init__(self, shell: Sequence[str], directory: Path) -> None:
        self._leader = 0
        self._mark = f"AOSS_SESSION_ID={secrets.token_hex(16)}"
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)  # noqa: FBT003 - it takes no keyword
        with theirs:
            try:
                self._launcher = subprocess.Popen(
                    [sys.executable, "-I", "-S", launcher.__file__, str(theirs.fileno()), *shell],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    cwd=directory,
                    env=command_environment(os.environ) | dict([self._mark.split("=")]),
                    start_new_session=True,  # Ctrl-C at the terminal is for the worker.
                )
            except OSError:
                self._channel.close()
                raise

    async def run(self, command: str, *, time_limit: float, stop: asyncio.Event) -> CommandResult:
        """Run a shell command; see Session. Raises ValueError for a command that no shell can be given."""
        request = b"R" + encode_command(command)
        recording = Recording()
        async with _pipes(recording.stdout, recording.stderr) as pipes:
            self._leader = 0
            # A launcher that is gone shows when its report is awaited.
            with contextlib.suppress(ConnectionError):
                socket.send_fds(self._channel, [request], [pipe.writer for pipe in pipes])
            for pipe in pipes:
                pipe.close_writer()
            ended = asyncio.ensure_future(self._report())
            try:
                outcome = await wait_for_end(ended, time_limit=time_limit, stop=stop)
            finally:
                # On every way out, the cancellation of this task included.
                report = await self._end(ended)
                await asyncio.wait({pipe.drained for pipe in pipes}, timeout=_DRAIN)
        if report is None:
            recording.note(
                "the launcher of this session is gone; what could be found of the command was killed"
            )
            return recording.result(Outcome.LOST if outcome is Outcome.EXITED else outcome, 0)
        status, left = report
        if left:
            recording.note(f"{left} processes that the command started could not be ended")
        code = os.waitstatus_to_exitcode(status)
        return recording.result(outcome, code if code >= 0 else 128 - code)

    async def close(self) -> None:
        """End the launcher and everything still running under it."""
        self._hang_up()
        if self._launcher.poll() is None:
            # Not Popen.wait, which would block the loop, nor a thread to do so.
            pidfd = os.pidfd_open(self._launcher.pid)
            loop = asyncio.get_running_loop()
            exited = asyncio.Event()
            loop.add_reader(pidfd, exited.set)
            try:
                await asyncio.wait_for(exited.wait(), GRACE)
            except TimeoutError:
                self._end_without_launcher()
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)
        self._launcher.wait()
        self._channel.close()

    async def _end(self, ended: asyncio.Future[tuple[int, int]]) -> tuple[int, int] | None:
        """Stop the command if it still runs, and return the launcher's report; None if it cannot give one."""
        try:
            if not ended.done():
                with contextlib.suppress(OSError):
                    self._channel.send(b"S")
            return await asyncio.wait_for(ended, GRACE)
        except OSError:  # TimeoutError is one.
            self._end_without_launcher()
            return None
        except asyncio.CancelledError:
            # Cancelled twice: no one waits for the report any more, the launcher ends everything by itself.
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        # Not close: a report may be awaited on the socket at this moment.
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    async def _report(self) -> tuple[int, int]:
        """Return the wait status of the command and how many processes are left; raises ConnectionError."""
        loop = asyncio.get_running_loop()
        while message := await loop.sock_recv(self._channel, launcher.MESSAGE_BYTES):
            kind, numbers = message[:1], message[1:].split()
            if kind == b"P":
                self._leader = int(numbers[0])
            else:
                return int(numbers[0]), int(numbers[1])
        raise ConnectionError("the launcher is gone")

    def _end_without_launcher(self) -> None:
        """Kill what can be found of a command whose launcher was killed, or does not answer."""
        deadline = time.monotonic() + launcher.PATIENCE
        found = launcher.freeze(self._launcher.pid, deadline)
        if self._leader:
            launcher.signal_all({self._leader}, signal.SIGSTOP)
            found |= {self._leader} | launcher.freeze(self._leader, deadline)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader, signal.SIGKILL)
        launcher.signal_all(found, signal.SIGKILL)
        self._launcher.kill()
        # What had left the tree before is known by its environment alone.
        while (escaped := _marked(self._mark)) and time.monotonic() < deadline:
            launcher.signal_all(escaped, signal.SIGKILL)


def _marked(mark: str) -> set[int]:
    """Return the processes that carry a variable in the environment with which they were started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found


@contextlib.asynccontextmanager
async def _pipes(*collectors: OutputCollector) -> AsyncIterator[list["_Pipe"]]:
    """Open a pipe for each collector, and close them on every way out."""
    with contextlib.ExitStack() as opened:
        pipes = []
        for collector in collectors:
            pipe = await _Pipe.open(collector)
            opened.callback(pipe.close)
            pipes.append(pipe)
        yield pipes


class _Pipe(asyncio.Protocol):
    """A pipe whose reading end fills a collector; `drained` is done when the pipe has ended."""

    transport: asyncio.ReadTransport

    def __init__(self, collector: OutputCollector, writer: int) -> None:
        self._collector = collector
        self.writer = writer
        self.drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, collector: OutputCollector) -> "_Pipe":
        reader, writer = os.pipe()
        file = os.fdopen(reader, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        try:
            transport, pipe = await loop.connect_read_pipe(lambda: cls(collector, writer), file)
        except BaseException:
            file.close()
            os.close(writer)
            raise
        pipe.transport = transport
        return pipe

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        self.close_writer()
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._collector.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.drained.done():
            self.drained.set_result(None)
