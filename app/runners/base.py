"""The interface between the engine and the places where commands run."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

OUTPUT_LIMIT_BYTES = 1024 * 1024


class Outcome(StrEnum):
    """Why a command is over."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command left behind.

    `exit_code` follows the shell: 128+n for signal n; 124 when its time ran out, 143 when it was stopped, 255
    when the session was lost. `signal` is a name such as SIGKILL where a signal ended the command.
    `stdout` and `stderr` hold at most OUTPUT_LIMIT_BYTES each, head and tail kept and the cut marked,
    with NUL and invalid UTF-8 as U+FFFD. `duration` is in seconds.
    """

    outcome: Outcome
    exit_code: int
    stdout: str
    stderr: str
    duration: float
    signal: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A registered server, as a runner needs to know it.

    `runner` is `local` or `ssh`. `key_path` is the private key to offer; without one the agent is asked.
    `host_key` is the pinned public key in OpenSSH's one-line form.
    """

    server_id: int
    tag: str
    runner: str
    host: str = ""
    port: int = 22
    username: str = ""
    key_path: Path | None = None
    host_key: str | None = None
    allow_changes: bool = False


class Session(Protocol):
    """One execution's connection to a server; it runs one command at a time."""

    async def run(self, command: str, *, time_limit: float, stop: asyncio.Event) -> CommandResult:
        """Run a shell command until it ends, `time_limit` seconds pass, or `stop` is set.

        However it ends, nothing that the command started is left running.
        """
        ...

    async def close(self) -> None:
        """End the session and everything still running in it."""
        ...


class Runner(Protocol):
    """Open sessions with servers of one kind."""

    async def connect(self, target: Target) -> Session:
        """Return a session; raises SessionError, or SessionAuthenticationError for a refused key."""
        ...
