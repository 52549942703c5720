"""The registered servers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import DuplicateTagError, ServerBusyError, UnknownServerError
from app.store.database import Database
from app.store.models import RUNNING, Execution, Server


@dataclass(frozen=True, slots=True)
class NewServer:
    """A server to register; the fields are those of models.Server."""

    tag: str
    runner: str
    ip_address: str
    hostname: str
    ssh_port: int = 22
    ssh_username: str = ""
    ssh_key_path: str | None = None
    host_key: str | None = None
    allow_changes: bool = False


async def insert_server(session: AsyncSession, new: NewServer) -> Server:
    """Register a server within the caller's transaction; raises DuplicateTagError, which ends that."""
    server = Server(**asdict(new), created_at=datetime.now(UTC))
    session.add(server)
    try:
        await session.flush()
    except IntegrityError as error:
        raise DuplicateTagError(f"a server is already registered as {new.tag!r}") from error
    return server


class Servers:
    """Read and change the registered servers; every call may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, new: NewServer) -> Server:
        """Register a server; raises DuplicateTagError."""
        async with self._database.transaction() as session:
            return await insert_server(session, new)

    async def get(self, server_id: int) -> Server:
        """Return a server; raises UnknownServerError."""
        async with self._database.snapshot() as session:
            server = await session.scalar(select(Server).where(Server.id == server_id))
        if server is None:
            raise UnknownServerError(f"there is no server {server_id}")
        return server

    async def list(self, limit: int, after: int = 0) -> Sequence[Server]:
        """Return servers in the order of their ids, from the first whose id is above `after`."""
        query = select(Server).where(Server.id > after).order_by(Server.id).limit(limit)
        async with self._database.snapshot() as session:
            return (await session.scalars(query)).all()

    async def tags(self) -> Sequence[str]:
        """Return the tags of all servers, in alphabetical order."""
        async with self._database.snapshot() as session:
            return (await session.scalars(select(Server.tag).order_by(Server.tag))).all()

    async def delete(self, server_id: int) -> None:
        """Remove a server; its executions stay in the lists, with its tag.

        Raises UnknownServerError, or ServerBusyError while an execution runs on it.
        """
        # This lock meets the one that Executions.add takes: whoever comes second sees what the first did.
        lock = select(Server.id).where(Server.id == server_id).with_for_update()
        running = select(exists().where(Execution.server_id == server_id, Execution.status == RUNNING))
        async with self._database.transaction() as session:
            if await session.scalar(lock) is None:
                raise UnknownServerError(f"there is no server {server_id}")
            if await session.scalar(running):
                raise ServerBusyError(f"executions are running on server {server_id}")
            await (await session.connection()).execute(delete(Server).where(Server.id == server_id))
