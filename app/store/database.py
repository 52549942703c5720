"""The database: its engine, its schema, its transactions."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.errors import StoreUnavailableError
from app.store import migrations
from app.store.address import parse_address, sqlite_address
from app.store.failures import unavailability

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 5.0
TRANSACTION_SECONDS = 15.0
SET_UP_SECONDS = 300.0
"""How long a start may wait for another worker's migrations, and take for its own."""

_ADVISORY_LOCK = 0x414F5353  # "AOSS"; any number that is always the same


class Database:
    """A SQLite file or a PostgreSQL database.

    `url` is AOSS_DATABASE_URL; where it is empty, the database is `aoss.db` in `data_dir`. Raises
    DatabaseUrlError. Listen for statements on `engine.sync_engine`.
    """

    def __init__(self, url: str, data_dir: Path) -> None:
        self._url = parse_address(url or sqlite_address(data_dir / "aoss.db"))
        self.dialect = self._url.get_backend_name()
        self.engine = _engine(self._url, COMMAND_SECONDS)
        self._reader = self.engine.execution_options(aoss_reads=True)
        # SQLite has one writer at a time. Those of one process queue here: in SQLite they would poll for
        # their turn, which takes 64 of them ten times as long.
        self._turn: AbstractAsyncContextManager[object] = (
            asyncio.Lock() if self.dialect == "sqlite" else nullcontext()
        )

    async def open(self, first_start: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Migrate the schema; where it is new, also run `first_start`, in the same transaction.

        Of several workers that start at once one does it, once; the others wait. Raises
        StoreUnavailableError, or StoreVersionError for a database of a later version.
        """
        # An engine of its own: a migration may take longer than any other statement is allowed to.
        engine = _engine(self._url, SET_UP_SECONDS)
        try:
            async with self._set_up_lock(), _session(engine, SET_UP_SECONDS, self._turn) as session:
                connection = await session.connection()
                if self.dialect == "postgresql":
                    await connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                if await connection.run_sync(migrations.upgrade):
                    await first_start(session)
        finally:
            await engine.dispose()

    async def ping(self) -> None:
        """Return if the database answers and its schema is at the head; raises StoreUnavailableError."""
        async with self.snapshot() as session:
            revision = await (await session.connection()).run_sync(migrations.current)
        if revision != migrations.head():
            raise StoreUnavailableError(
                f"the database has schema revision {revision!r}, not {migrations.head()!r}"
            )

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session whose transaction is committed at the end of the block.

        Whatever makes the database unusable (lost, locked, full, too slow) raises StoreUnavailableError; the
        transaction may then have been committed all the same.
        """
        return _session(self.engine, TRANSACTION_SECONDS, self._turn)

    def snapshot(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session that only reads; on SQLite it does not wait for writers. Raises likewise."""
        return _session(self._reader, TRANSACTION_SECONDS, nullcontext())

    @asynccontextmanager
    async def _set_up_lock(self) -> AsyncIterator[None]:
        if self.dialect != "sqlite":
            yield
            return
        path = Path(str(self._url.database))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailableError(f"the folder {str(path.parent)!r}: {error.strerror}") from error
        try:
            await _flock(descriptor)
            _create_private(path)
            yield
        finally:
            os.close(descriptor)


async def _flock(descriptor: int) -> None:
    try:
        async with asyncio.timeout(SET_UP_SECONDS):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise StoreUnavailableError("another worker has been setting up the database for too long") from error


def _create_private(path: Path) -> None:
    # Never open one that exists: closing the descriptor would drop the locks SQLite holds in this process.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        path.chmod(0o600)
    except OSError as error:
        raise StoreUnavailableError(f"the file {str(path)!r}: {error.strerror}") from error


@asynccontextmanager
async def _session(
    engine: AsyncEngine, seconds: float, turn: AbstractAsyncContextManager[object]
) -> AsyncIterator[AsyncSession]:
    try:
        async with (
            asyncio.timeout(seconds),
            turn,
            AsyncSession(engine, expire_on_commit=False, autoflush=False) as session,
            session.begin(),
        ):
            yield session
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = unavailability(error)
        if reason is None:
            raise
        raise StoreUnavailableError(f"the database cannot be used now: {reason}") from error


def _engine(url: URL, command_seconds: float) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(
            url, connect_args={"timeout": command_seconds}, pool_timeout=command_seconds, hide_parameters=True
        )
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        url,
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": command_seconds},
        pool_pre_ping=True,
        pool_timeout=command_seconds,
        hide_parameters=True,
    )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # A caller that is cancelled again while its connection closes stops the connection a second time. In
    # aiosqlite 0.22 that waits for a thread that has ended, and the event loop could never be closed.
    driver = connection.driver_connection
    driver.stop = cache(driver.stop)
    # The driver's own BEGIN comes only before a write and leaves DDL outside transactions.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes fails at once when another has written in between; one that
    # says at its start that it will write waits for its turn.
    reads = connection.get_execution_options().get("aoss_reads", False)
    # Over the driver: the start of a transaction is no statement to those who count statements.
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
    cursor.close()
