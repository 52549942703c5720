"""A fresh database for each test, of both kinds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.store.database import Database
from app.store.executions import Executions
from app.store.models import Execution, Server
from app.store.records import NewExecution, StoredEvent
from app.store.servers import NewServer, Servers
from telemetry.labels import AgentType
from tests.support.postgres import PostgresServer

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """Where a test's database is: AOSS_DATABASE_URL and AOSS_DATA_DIR."""

    url: str
    data_dir: Path


async def nothing(_session: AsyncSession) -> None:
    """Do nothing at the first start."""


def new_server(tag: str = "web-1") -> NewServer:
    """Return a server to register."""
    return NewServer(tag=tag, runner="ssh", ip_address="192.0.2.1", hostname="web", ssh_username="ops")


def event_of(
    execution: Execution, seq: int, type_: str = "step_start", line: str | None = None
) -> StoredEvent:
    """Return an event to append."""
    return StoredEvent(execution.id, seq, type_, line or f'{{"seq":{seq}}}')


class Records:
    """Fill a store with what a test needs."""

    def __init__(self, database: Database) -> None:
        self.servers = Servers(database)
        self.executions = Executions(database)

    async def server(self, tag: str = "web-1") -> Server:
        """Register a server."""
        return await self.servers.add(new_server(tag))

    async def execution(
        self,
        server: Server,
        *,
        worker: str = "worker-a",
        started_at: datetime = START,
        execution_id: str | None = None,
    ) -> Execution:
        """Record a running execution."""
        return await self.executions.add(
            NewExecution(
                id=execution_id or uuid4().hex,
                server_id=server.id,
                agent_type=AgentType.NETWORK,
                query="why is it slow?",
                plan=[{"step": 1, "command": "ss -s", "description": "sockets"}],
                host="host-1",
                worker=worker,
                started_at=started_at,
            )
        )


@pytest.fixture(scope="session")
def postgresql_url(postgres_server: PostgresServer) -> str:
    """Return the address of the database that the tests take in turn."""
    return postgres_server.create_database()


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Place:
    """Return the place of a SQLite database that does not exist yet."""
    return Place("", tmp_path / "data")


@pytest.fixture
def postgresql_place(postgres_server: PostgresServer, postgresql_url: str, tmp_path: Path) -> Place:
    """Return the place of an empty PostgreSQL database."""
    postgres_server.empty(postgresql_url)
    return Place(postgresql_url, tmp_path / "data")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """Return the place of a database of each kind."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """Open a database of each kind."""
    opened = Database(place.url, place.data_dir)
    await opened.open(nothing)
    yield opened
    await opened.close()


@pytest.fixture
def records(database: Database) -> Records:
    """Fill the database."""
    return Records(database)


@pytest.fixture
def servers(records: Records) -> Servers:
    """Use the servers."""
    return records.servers


@pytest.fixture
def executions(records: Records) -> Executions:
    """Use the executions."""
    return records.executions
