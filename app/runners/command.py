"""What the runners share: how a command is waited for, and how its result is put together."""

import asyncio
import signal
import time
from typing import Any, TypeVar

from app.runners.base import CommandResult, Outcome
from app.runners.output import OutputCollector

T = TypeVar("T")

# How long to wait for a stopped command to be gone before saying that it may not be; in seconds.
GRACE = 5.0

# The kernel takes no longer argument (MAX_ARG_STRLEN).
COMMAND_LIMIT_BYTES = 128 * 1024 - 1

_EXIT_CODES = {Outcome.TIMED_OUT: 124, Outcome.STOPPED: 143, Outcome.LOST: 255}


def encode_command(command: str) -> bytes:
    """Return the command in UTF-8; raises ValueError for one that no shell could be given."""
    encoded = command.encode()
    if b"\0" in encoded:
        raise ValueError("a command cannot hold a NUL character")
    if len(encoded) > COMMAND_LIMIT_BYTES:
        raise ValueError(f"a command cannot be longer than {COMMAND_LIMIT_BYTES} bytes")
    return encoded


async def wait_for_end(ended: asyncio.Future[T], *, time_limit: float, stop: asyncio.Event) -> Outcome:
    """Return EXITED when `ended` is done, STOPPED at `stop`, TIMED_OUT after `time_limit` seconds."""
    stopping = asyncio.ensure_future(stop.wait())
    waited: set[asyncio.Future[Any]] = {ended, stopping}
    try:
        await asyncio.wait(waited, timeout=time_limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if ended.done():
        return Outcome.EXITED
    return Outcome.STOPPED if stop.is_set() else Outcome.TIMED_OUT


class Recording:
    """The output of one command, and the time since it was asked for."""

    def __init__(self) -> None:
        self.stdout = OutputCollector()
        self.stderr = OutputCollector()
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """Add a line of the runner's own to the standard error."""
        self.stderr.feed(f"\naoss: {text}\n".encode())

    def result(self, outcome: Outcome, exit_code: int) -> CommandResult:
        """Return the result; `exit_code` counts only for a command that ended by itself."""
        exit_code = _EXIT_CODES.get(outcome, exit_code)
        return CommandResult(
            outcome=outcome,
            exit_code=exit_code,
            stdout=self.stdout.text(),
            stderr=self.stderr.text(),
            duration=time.monotonic() - self._started,
            signal=_signal_name(exit_code) if outcome is Outcome.EXITED else None,
        )


def _signal_name(exit_code: int) -> str | None:
    """Return the name of signal n for 128+n, which is all that a shell tells of it."""
    try:
        return signal.Signals(exit_code - 128).name
    except ValueError:
        return None
