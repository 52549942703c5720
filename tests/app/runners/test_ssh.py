"""Tests of what is particular to SSH: who is let in, who is believed, and what a loss looks like."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import SessionAuthenticationError, SessionError
from app.runners.base import Outcome, Session
from app.runners.host_keys import fingerprint
from app.runners.ssh import SshRunner
from tests.app.runners.conftest import Place, answering, run, run_once, ssh_target
from tests.support.processes import marked, sleeping, wait_until_gone
from tests.support.sshd import USERS, RunningSshd, running_sshd

# The sshd process that serves the connection is the parent of the script that is the parent of the command.
SERVING = "awk '/^PPid:/ { print $2 }' /proc/$PPID/status"


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[RunningSshd]:
    """Return an sshd that a test may change."""
    with running_sshd(tmp_path) as server:
        yield server


async def connect(server: RunningSshd) -> Session:
    """Open a session as the plain user."""
    return await SshRunner().connect(ssh_target(server))


@pytest.mark.parametrize("user", USERS)
async def test_the_user_is_the_targets(sshd: RunningSshd, user: str) -> None:
    """A command runs as the user that the server was registered with, in that user's home."""
    result = await run_once(Place(SshRunner(), ssh_target(sshd, user)), 'id -un; [ "$PWD" = ~ ] && echo home')
    assert result.stdout == f"{sshd.users[user]}\nhome\n"


async def test_commands_of_a_session_share_a_connection(sshd: RunningSshd) -> None:
    """Three commands are one connection and one login."""
    logins = sshd.log.count("Accepted publickey")
    session = await connect(sshd)
    shown = [(await run(session, "echo $SSH_CONNECTION")).stdout for _ in range(3)]
    await session.close()
    assert shown[0].split()[2:] == [sshd.host, str(sshd.port)]
    assert (len(set(shown)), sshd.log.count("Accepted publickey") - logins) == (1, 1)


async def test_nothing_of_this_environment_is_sent(
    sshd: RunningSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither variables nor the agent reach the server."""
    monkeypatch.setenv("LC_AOSS", "very-secret")
    result = await run_once(Place(SshRunner(), ssh_target(sshd)), "env")
    assert ("very-secret" in result.stdout, "SSH_AUTH_SOCK" in result.stdout) == (False, False)


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_a_changed_host_key_is_refused(own_sshd: RunningSshd, kind: str) -> None:
    """A server with another key, of the same kind or not, is refused; the error has both fingerprints."""
    target = ssh_target(own_sshd)
    own_sshd.stop()
    own_sshd.new_host_key(kind)
    own_sshd.start()
    with pytest.raises(SessionError, match=r"host key of .* has changed") as caught:
        await SshRunner().connect(target)
    assert fingerprint(target.host_key or "") in str(caught.value)
    assert fingerprint(own_sshd.host_key_line) in str(caught.value)
    assert "Accepted" not in own_sshd.log
    assert (await run_once(Place(SshRunner(), ssh_target(own_sshd)), "echo new")).stdout == "new\n"


async def test_a_second_host_key_does_not_hide_the_pinned_one(own_sshd: RunningSshd, tmp_path: Path) -> None:
    """A server that got another key beside the pinned one, of a better kind, is still recognised."""
    own_sshd.stop()
    own_sshd.new_host_key("rsa")
    own_sshd.make_key(tmp_path / "second_key")
    own_sshd.lines = (f"HostKey {tmp_path / 'second_key'}",)
    own_sshd.start()
    assert own_sshd.host_key_line.startswith("ssh-rsa ")
    assert (await run_once(Place(SshRunner(), ssh_target(own_sshd)), "echo in")).stdout == "in\n"


async def test_a_server_without_a_pinned_key_is_refused(sshd: RunningSshd) -> None:
    """Trust is never taken from the first connection."""
    with pytest.raises(SessionError, match="no host key is pinned"):
        await SshRunner().connect(replace(ssh_target(sshd), host_key=None))


async def test_a_key_that_the_server_does_not_know_is_refused(sshd: RunningSshd, tmp_path: Path) -> None:
    """A refused key is an authentication error that names the server."""
    sshd.make_key(tmp_path / "stranger")
    with pytest.raises(
        SessionAuthenticationError, match=rf"127\.0\.0\.1:{sshd.port}: the server refused the key"
    ):
        await SshRunner().connect(replace(ssh_target(sshd), key_path=tmp_path / "stranger"))


async def test_a_key_that_cannot_be_read_is_refused(sshd: RunningSshd, tmp_path: Path) -> None:
    """Absent, encrypted and malformed keys are authentication errors that say which it is."""
    sshd.make_key(tmp_path / "locked", passphrase="a passphrase")
    (tmp_path / "rubbish").write_text("not a key, but secret")
    for name, words in {
        "absent": "No such file",
        "locked": "Passphrase",
        "rubbish": "cannot be used",
    }.items():
        with pytest.raises(SessionAuthenticationError, match=words) as caught:
            await SshRunner().connect(replace(ssh_target(sshd), key_path=tmp_path / name))
        assert "secret" not in str(caught.value)


@pytest.fixture
def agent(sshd: RunningSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start an agent without keys and name it in the environment."""
    path = tmp_path / "agent"
    process = subprocess.Popen(
        [sshd.program("ssh-agent"), "-D", "-a", str(path)], env=sshd.environment, stdout=subprocess.DEVNULL
    )
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    deadline = time.monotonic() + 10
    with socket.socket(socket.AF_UNIX) as probe:
        while probe.connect_ex(str(path)) and time.monotonic() < deadline:
            time.sleep(0.01)
    yield path
    process.terminate()
    process.wait(timeout=10)


async def test_without_a_key_the_agent_is_asked(sshd: RunningSshd, agent: Path) -> None:
    """A key in the agent opens the session; an agent that holds none is an authentication error."""
    target = replace(ssh_target(sshd), key_path=None)
    with pytest.raises(SessionAuthenticationError, match="holds no key"):
        await SshRunner().connect(target)
    add = [sshd.program("ssh-add"), "-q", str(sshd.key_path)]
    environment = {**sshd.environment, "SSH_AUTH_SOCK": str(agent)}
    await asyncio.to_thread(subprocess.run, add, env=environment, check=True)
    assert (await run_once(Place(SshRunner(), target), "echo in")).stdout == "in\n"


async def test_without_a_key_and_an_agent_there_is_no_session(
    sshd: RunningSshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No agent, and an agent that is gone, are told apart; keys in the user's home are not tried."""
    home = tmp_path / ".ssh"
    home.mkdir()
    (home / "id_ed25519").symlink_to(sshd.key_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    target = replace(ssh_target(sshd), key_path=None)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SessionAuthenticationError, match="SSH_AUTH_SOCK is not set"):
        await SshRunner().connect(target)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    with pytest.raises(SessionAuthenticationError, match="does not answer"):
        await SshRunner().connect(target)


async def test_the_users_ssh_configuration_is_not_read(
    sshd: RunningSshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What ~/.ssh/config says of a host has no effect."""
    home = tmp_path / ".ssh"
    home.mkdir()
    (home / "config").write_text(
        "Host *\n  Port 1\n  User nobody\n  ProxyCommand false\n  RemoteCommand false\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (await run_once(Place(SshRunner(), ssh_target(sshd)), "echo in")).stdout == "in\n"


async def test_a_port_without_a_listener_is_a_clear_error(sshd: RunningSshd, unused_port: int) -> None:
    """A refused connection names host and port."""
    with pytest.raises(SessionError, match=rf"127\.0\.0\.1:{unused_port}: the connection was refused"):
        await SshRunner().connect(replace(ssh_target(sshd), port=unused_port))


@pytest.mark.parametrize(
    "banner",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2000,
        b"\0\xff" * 50_000,
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 99,
    ],
)
async def test_a_port_that_is_not_ssh_is_a_clear_error(
    sshd: RunningSshd, banner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever answers, the error is ours, names host and port and is short."""
    monkeypatch.setattr("app.runners.ssh.CONNECT_TIMEOUT", 2)
    async with answering(banner) as port:
        with pytest.raises(SessionError, match=rf"127\.0\.0\.1:{port}: ") as caught:
            await SshRunner().connect(replace(ssh_target(sshd), port=port))
    assert len(str(caught.value)) < 400


async def test_a_silent_host_is_given_up(
    sshd: RunningSshd, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that accepts and never answers is an error once the time is up."""
    monkeypatch.setattr("app.runners.ssh.CONNECT_TIMEOUT", 0.3)
    with pytest.raises(SessionError, match="did not answer as an SSH server"):
        await asyncio.wait_for(SshRunner().connect(replace(ssh_target(sshd), port=silent_port)), 10)


async def test_an_unknown_name_is_a_clear_error(sshd: RunningSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is named, whether the resolver says so or says nothing."""
    monkeypatch.setattr("app.runners.ssh.CONNECT_TIMEOUT", 2)
    with pytest.raises(SessionError, match=r"no-such-host\.invalid:22: "):
        await SshRunner().connect(replace(ssh_target(sshd), host="no-such-host.invalid", port=22))


async def test_a_session_that_breaks_is_lost(sshd: RunningSshd, marker: str) -> None:
    """When the server's side of the connection dies, the command is lost, and on the server it ends."""
    session = await connect(sshd)
    server = int((await run(session, SERVING)).stdout)
    # The pause lets the output arrive; the shell itself carries the marker from the start.
    task = asyncio.create_task(run(session, f"echo begun; sleep 1; setsid sleep {marker}; true"))
    while not sleeping(marker):  # noqa: ASYNC110 - nothing tells of other processes
        await asyncio.sleep(0.02)
    os.kill(server, signal.SIGKILL)
    result = await asyncio.wait_for(task, 10)
    again = await run(session, "true")
    await session.close()
    assert (result.outcome, result.exit_code, result.stdout) == (Outcome.LOST, 255, "begun\n")
    assert "the session with 127.0.0.1" in result.stderr
    assert again.outcome == Outcome.LOST
    assert wait_until_gone(marker) == {}


async def test_a_server_that_vanishes_is_noticed(sshd: RunningSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that no longer answers, on a connection that stays open, is a lost session in the end."""
    monkeypatch.setattr("app.runners.ssh.KEEPALIVE_INTERVAL", 0.2)
    session = await connect(sshd)
    server = int((await run(session, SERVING)).stdout)
    os.kill(server, signal.SIGSTOP)
    try:
        result = await asyncio.wait_for(run(session, "true"), 15)
    finally:
        os.kill(server, signal.SIGCONT)
    await session.close()
    assert (result.outcome, result.exit_code) == (Outcome.LOST, 255)


async def test_a_server_that_does_not_confirm_a_stop_is_given_up(
    sshd: RunningSshd, monkeypatch: pytest.MonkeyPatch, marker: str
) -> None:
    """A stop does not wait for ever for a server that is stuck, and the result says what is not known."""
    monkeypatch.setattr("app.runners.ssh.GRACE", 0.5)
    session = await connect(sshd)
    server = int((await run(session, SERVING)).stdout)
    stop = asyncio.Event()
    task = asyncio.create_task(session.run(f"sleep {marker}", time_limit=60, stop=stop))
    while not marked(marker):  # noqa: ASYNC110 - nothing tells of other processes
        await asyncio.sleep(0.02)
    os.kill(server, signal.SIGSTOP)
    stop.set()
    try:
        result = await asyncio.wait_for(task, 10)
    finally:
        os.kill(server, signal.SIGCONT)
    await session.close()
    assert (result.outcome, result.exit_code) == (Outcome.STOPPED, 143)
    assert "did not confirm" in result.stderr
    assert wait_until_gone(marker) == {}


async def test_asyncssh_is_silent(sshd: RunningSshd, caplog: pytest.LogCaptureFixture) -> None:
    """A session leaves no line in the log of a backend that logs everything it is given."""
    caplog.set_level(logging.DEBUG)
    await run_once(Place(SshRunner(), ssh_target(sshd)), "echo something-secret")
    assert [record for record in caplog.records if record.name.startswith("asyncssh")] == []
