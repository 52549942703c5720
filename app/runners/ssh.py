"""Commands on a server over SSH."""

import asyncio
import contextlib
import os
import secrets
import shlex
import signal
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import asyncssh

from app.errors import SessionAuthenticationError, SessionError
from app.runners.base import CommandResult, Outcome, Session, Target
from app.runners.command import GRACE, Recording, encode_command, wait_for_end
from app.runners.host_keys import (
    CONNECT_TIMEOUT,
    HOST_KEY_ALGORITHMS,
    connection_problem,
    fingerprint,
    key_line,
)

# A server that vanishes is noticed after INTERVAL seconds times COUNT.
KEEPALIVE_INTERVAL: float = 15
KEEPALIVE_COUNT = 3

_SCRIPT = resources.files("app.runners").joinpath("remote.sh").read_bytes()

# All that the login shell, whichever it is, gets to see: no quote, backslash or line end inside the quotes.
# The script and the command follow on standard input, so that no limit and no quoting touches them.
# 36 is PR_SET_CHILD_SUBREAPER, which outlives exec; a shell cannot ask for it, Perl is where Debian is.
_BOOTSTRAP = (
    "exec sh -c 'prctl=; case $(uname -m) in x86_64) prctl=157;; aarch64|riscv64) prctl=167;; esac; "
    "test $prctl && command -v perl >/dev/null && "
    'exec perl -e "syscall(shift, 36, 1, 0, 0, 0); exec @ARGV" $prctl sh -c "$1" 4>&2 2>/dev/null; '
    'exec sh -c "$1" 4>&2 2>/dev/null\' sh \'eval "$(head -c {length})"\''
)


class SshRunner:
    """Run commands on servers over SSH, one connection for each session.

    Only a public key counts as proof on either side: the server's is pinned, ours is a file or in the agent
    that SSH_AUTH_SOCK names. No file of the user's SSH configuration is read.
    """

    def __init__(self) -> None:
        # At INFO asyncssh tells of every connection, channel and request.
        asyncssh.set_log_level("WARNING")

    async def connect(self, target: Target) -> Session:
        """Return a session; raises SessionError, or SessionAuthenticationError where a key is the cause."""
        if not target.host_key:
            raise SessionError(f"{target.tag}: no host key is pinned for this server")
        pinned = asyncssh.import_public_key(target.host_key)
        witness = _Witness()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT), _client_keys(target) as keys:
                connection = await asyncssh.connect(
                    target.host,
                    target.port,
                    username=target.username,
                    client_keys=keys,
                    client_factory=lambda: witness,
                    known_hosts=([pinned], [], []),
                    # The pinned key's come first and are taken if the server has such a key. The others let a
                    # server that has replaced it show what it has; only the pinned key is accepted.
                    server_host_key_algs="+" + ",".join(HOST_KEY_ALGORITHMS),
                    config=None,
                    agent_path=None,
                    x509_trusted_certs=None,
                    x509_trusted_cert_paths=[],
                    preferred_auth="publickey",
                    host_based_auth=False,
                    kbdint_auth=False,
                    password_auth=False,
                    gss_host=None,
                    gss_kex=False,
                    gss_auth=False,
                    agent_forwarding=False,
                    compression_algs=None,
                    keepalive_interval=KEEPALIVE_INTERVAL,
                    keepalive_count_max=KEEPALIVE_COUNT,
                )
        except asyncssh.HostKeyNotVerifiable:
            raise _changed(target, witness.presented) from None
        except (OSError, ValueError, asyncssh.Error) as error:
            raise connection_problem(target.host, target.port, error) from error
        return SshSession(connection, f"{target.host}:{target.port}")


class SshSession:
    """A connection to a server; each command gets a channel of its own."""

    def __init__(self, connection: asyncssh.SSHClientConnection, where: str) -> None:
        self._connection = connection
        self._where = where

    async def run(self, command: str, *, time_limit: float, stop: asyncio.Event) -> CommandResult:
        """Run a shell command; see Session. Raises ValueError for a command that no shell can be given."""
        quoted = shlex.quote(encode_command(command).decode())
        script = f"id={secrets.token_hex(16)}\ncommand={quoted}\n".encode() + _SCRIPT
        recording = Recording()
        process = _Process(recording, script)
        ended = asyncio.ensure_future(self._follow(process, len(script)))
        try:
            outcome = await wait_for_end(ended, time_limit=time_limit, stop=stop)
        finally:
            # On every way out, the cancellation of this task included.
            process.stop()
            confirmed = await self._confirmed(ended)
        if not confirmed:
            recording.note(f"{self._where} did not confirm within {GRACE:g} s that the command has ended")
        elif process.exit_code is None:
            reason = ended.result() or "the command's channel was closed"
            recording.note(f"the session with {self._where} was lost: {reason}")
            outcome = Outcome.LOST if outcome is Outcome.EXITED else outcome
        return recording.result(outcome, process.exit_code or 0)

    async def close(self) -> None:
        """End the connection, and with it what still runs: the script on the server sees its input end."""
        self._connection.close()
        try:
            await asyncio.wait_for(self._connection.wait_closed(), GRACE)
        except TimeoutError:
            self._connection.abort()

    async def _follow(self, process: "_Process", length: int) -> str:
        """Run a process to its end; return what went wrong with the session, if anything did."""
        try:
            await self._connection.create_session(
                lambda: process,
                _BOOTSTRAP.replace("{length}", str(length)),
                encoding=None,
                request_pty=False,
                x11_forwarding=False,
            )
        except (OSError, asyncssh.Error) as error:
            return str(error)
        return await process.ended

    async def _confirmed(self, ended: asyncio.Future[str]) -> bool:
        """Return whether the command's end is known; hang up on a server that does not tell."""
        try:
            await asyncio.wait({ended}, timeout=GRACE)
        finally:
            if not ended.done():
                # All that is left to do: the script sees the end of its input also from this.
                ended.cancel()
                self._connection.abort()
        return ended.done() and not ended.cancelled()


class _Process(asyncssh.SSHClientSession[bytes]):
    """A command on its channel; `ended` is done, with a complaint or nothing, when no more output comes."""

    def __init__(self, recording: Recording, script: bytes) -> None:
        self.exit_code: int | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._recording = recording
        self._script = script
        self._stopped = False
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def stop(self) -> None:
        """End the script's input, which makes it end the command; nothing if it has ended already."""
        self._stopped = True
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.write_eof()

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._channel = chan

    def session_started(self) -> None:
        if self._channel is not None:
            if self._stopped:
                self._channel.write_eof()
            else:
                self._channel.write(self._script)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        collector = self._recording.stdout if datatype is None else self._recording.stderr
        collector.feed(data)

    def eof_received(self) -> bool:
        return True  # Else asyncssh would end our side as well, which means stop.

    def exit_status_received(self, status: int) -> None:
        self._exited(status)

    def exit_signal_received(self, signal: str, *_: object) -> None:
        self._exited(128 + _signal_number(signal))

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(str(exc) if exc else "")

    def _exited(self, exit_code: int) -> None:
        self.exit_code = exit_code
        # Output follows, and the end of the channel, but for a process that would not die and holds it open.
        asyncio.get_running_loop().call_later(GRACE, self._finish, "")

    def _finish(self, complaint: str) -> None:
        if not self.ended.done():
            self.ended.set_result(complaint)


class _Witness(asyncssh.SSHClient):
    """Remembers the host key that was shown in place of the pinned one."""

    presented: str | None = None

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self.presented = key_line(key)
        return False


def _changed(target: Target, presented: str | None) -> SessionError:
    shown = fingerprint(presented) if presented else "none"
    return SessionError(
        f"the host key of {target.host}:{target.port} has changed: {fingerprint(target.host_key or '')} is "
        f"pinned, the server showed {shown}. If the change is expected, register the server anew"
    )


@contextlib.asynccontextmanager
async def _client_keys(target: Target) -> AsyncIterator[list[Any]]:
    """Yield the keys to offer, at least one: with none asyncssh would look for some in the user's home."""
    if target.key_path is not None:
        yield [_read_key(target.key_path)]
        return
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise SessionAuthenticationError(
            f"{target.tag} is registered without a key, and there is no agent: SSH_AUTH_SOCK is not set"
        )
    try:
        agent = await asyncssh.connect_agent(path)
        keys = list(await agent.get_keys())
    except (OSError, ValueError, asyncssh.Error) as error:
        raise SessionAuthenticationError(f"the agent at {path} (SSH_AUTH_SOCK) does not answer") from error
    async with agent:
        if not keys:
            raise SessionAuthenticationError(f"the agent at {path} (SSH_AUTH_SOCK) holds no key")
        yield keys


def _read_key(path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path)
    except OSError as error:
        raise SessionAuthenticationError(f"the key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SessionAuthenticationError(f"the key {path} cannot be used: {error}") from error


def _signal_number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name}"].value
    except KeyError:
        return 0
