"""What the runners' tests share: an sshd, markers for processes, ways to run a command."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from app.runners.base import CommandResult, Runner, Session, Target
from app.runners.local import LocalRunner
from app.runners.ssh import SshRunner
from tests.support.backend import free_port
from tests.support.processes import kill_marked, new_marker
from tests.support.sshd import USERS, RunningSshd, running_sshd

LOCAL = Target(server_id=1, tag="localhost", runner="local")


def ssh_target(server: RunningSshd, user: str = "plain") -> Target:
    """Return a target for a user of RunningSshd.users."""
    return Target(
        server_id=2,
        tag="remote",
        runner="ssh",
        host=server.host,
        port=server.port,
        username=server.users[user],
        key_path=server.key_path,
        host_key=server.host_key_line,
    )


@dataclass
class Place:
    """Somewhere that commands run."""

    runner: Runner
    target: Target


async def run(session: Session, command: str, time_limit: float = 20.0) -> CommandResult:
    """Run a command that nobody stops."""
    return await session.run(command, time_limit=time_limit, stop=asyncio.Event())


async def run_once(place: Place, command: str, time_limit: float = 20.0) -> CommandResult:
    """Run a command in a session of its own."""
    session = await place.runner.connect(place.target)
    try:
        return await run(session, command, time_limit)
    finally:
        await session.close()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSshd]:
    """Return one sshd for all tests that do not change it."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["local", *(f"ssh-{user}" for user in USERS)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return each place in which a command can run."""
    if request.param == "local":
        return Place(LocalRunner(directory=tmp_path), LOCAL)
    server: RunningSshd = request.getfixturevalue("sshd")
    return Place(SshRunner(), ssh_target(server, request.param.removeprefix("ssh-")))


@pytest.fixture
def marker() -> Iterator[str]:
    """Return a number of seconds to sleep by which this test's processes are found, and killed at its end."""
    marker = new_marker()
    yield marker
    kill_marked(marker)


@pytest.fixture
def unused_port() -> int:
    """Return a port on which nothing listens."""
    return free_port()


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Return a port that accepts connections and never says a word."""
    async with answering(b"") as port:
        yield port


@asynccontextmanager
async def answering(banner: bytes) -> AsyncIterator[int]:
    """Serve a port on which every connection gets the same bytes, and nothing more, until it is closed."""

    transports: list[asyncio.BaseTransport] = []

    class Answer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.append(transport)
            cast("asyncio.Transport", transport).write(banner)

    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        # Whoever gave up has hung up, too.
        async with asyncio.timeout(5):
            while not all(transport.is_closing() for transport in transports):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        for transport in transports:
            transport.close()
        server.close()
        await server.wait_closed()
