"""Tests of databases that go away, and come back."""

import asyncio
import sqlite3
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from sqlalchemy import event, text

from app.errors import StoreUnavailableError
from app.store.database import Database
from app.store.models import Server
from tests.app.store.conftest import Place, Records, event_of, new_server, nothing
from tests.support.postgres import PostgresServer

BOUND_SECONDS = 20.0

T = TypeVar("T")

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def unavailable_in_time() -> Iterator[pytest.ExceptionInfo[StoreUnavailableError]]:
    """Expect the store to say within a bounded time that it cannot be used."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError) as refusal:
        yield refusal
    assert time.monotonic() - begun < BOUND_SECONDS


async def impatient(place: Place, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Set a database up, and return it opened with short time limits."""
    patient = Database(place.url, place.data_dir)
    await patient.open(nothing)
    await patient.close()
    monkeypatch.setattr("app.store.database.CONNECT_SECONDS", 1.0)
    monkeypatch.setattr("app.store.database.COMMAND_SECONDS", 1.0)
    return Database(place.url, place.data_dir)


async def soon(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call returns once the store is available again."""
    give_up = time.monotonic() + BOUND_SECONDS
    while True:
        try:
            return await call()
        except StoreUnavailableError:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.1)


@pytest.fixture
def interrupted_postgres(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Return the server, to be stopped or paused; afterwards it runs again."""
    yield postgres_server
    postgres_server.stop()
    postgres_server.start()


async def test_a_server_that_stops_and_starts_again(
    postgresql_place: Place, interrupted_postgres: PostgresServer
) -> None:
    """While it is down every call says so; then calls work again, and repeating a batch completes it."""
    database = Database(postgresql_place.url, postgresql_place.data_dir)
    await database.open(nothing)
    records = Records(database)
    execution = await records.execution(await records.server())
    await records.executions.append([event_of(execution, 1)])
    interrupted_postgres.stop()
    for call in (
        records.executions.append([event_of(execution, 2)]),
        records.executions.get(execution.id),
        records.servers.tags(),
        database.ping(),
    ):
        with unavailable_in_time():
            await call
    interrupted_postgres.start()
    await records.executions.append([event_of(execution, 1), event_of(execution, 2)])
    assert [each.seq for each in await records.executions.events(execution.id, 0, 10)] == [1, 2]
    await database.ping()
    await database.close()


async def test_a_server_that_stops_within_a_transaction(
    postgresql_place: Place, interrupted_postgres: PostgresServer
) -> None:
    """The transaction fails as unavailable, and nothing of it is stored."""
    database = Database(postgresql_place.url, postgresql_place.data_dir)
    await database.open(nothing)
    with unavailable_in_time():
        async with database.transaction() as session:
            await session.execute(text("DELETE FROM alembic_version"))
            interrupted_postgres.stop()
            await session.execute(text("SELECT 1"))
    interrupted_postgres.start()
    await database.ping()
    await database.close()


async def test_a_server_that_restarts_unnoticed(
    postgresql_place: Place, interrupted_postgres: PostgresServer
) -> None:
    """Connections that broke while nobody used them are replaced, and no call fails for them."""
    database = Database(postgresql_place.url, postgresql_place.data_dir)
    await database.open(nothing)
    await database.ping()
    interrupted_postgres.stop()
    interrupted_postgres.start()
    await database.ping()
    await database.close()


async def test_a_server_that_does_not_answer(
    postgresql_place: Place, interrupted_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server is given up in time, over old connections and new ones; then calls work again."""
    database = await impatient(postgresql_place, monkeypatch)
    servers = Records(database).servers
    await soon(servers.tags)
    interrupted_postgres.pause()
    for _ in range(2):
        with unavailable_in_time():
            await servers.tags()
    interrupted_postgres.resume()
    assert list(await soon(servers.tags)) == []
    await database.close()


async def test_a_server_that_freezes_within_a_transaction(
    postgresql_place: Place, interrupted_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement that is not answered ends the transaction, and closing does not hang either."""
    database = await impatient(postgresql_place, monkeypatch)
    await soon(database.ping)
    with unavailable_in_time():
        async with database.transaction() as session:
            await session.execute(text("SELECT 1"))
            interrupted_postgres.pause()
            await session.execute(text("SELECT 2"))
    await database.close()


async def test_a_refused_password_stays_secret(
    postgresql_place: Place, postgres_server: PostgresServer
) -> None:
    """The message says what kind of failure it was; neither it nor its causes show the password."""
    database = Database(
        postgresql_place.url.replace(postgres_server.password, "wr0ng-secret"), postgresql_place.data_dir
    )
    with unavailable_in_time() as refusal:
        await database.open(nothing)
    assert str(refusal.value) == "the database cannot be used now: InvalidPasswordError"
    assert "wr0ng-secret" not in "".join(traceback.format_exception(refusal.value))
    await database.close()


async def test_a_statement_that_is_wrong_is_not_an_outage(database: Database) -> None:
    """A defect of ours shows as what it is, and is not tried again for ever."""
    with pytest.raises(Exception, match="no_such_table") as failure:
        async with database.transaction() as session:
            await session.execute(text("SELECT * FROM no_such_table"))
    assert not isinstance(failure.value, StoreUnavailableError)


async def test_a_failed_statement_shows_no_values(database: Database) -> None:
    """What was to be stored may be secret, and does not appear in the error."""
    async with database.transaction() as session:
        session.add(Server(**_columns("web-1")))
    with pytest.raises(Exception, match="servers") as failure:
        async with database.transaction() as session:
            session.add(Server(**_columns("web-1", hostname="s3cret-host")))
    assert "s3cret-host" not in str(failure.value)


def _columns(tag: str, hostname: str = "web") -> dict[str, Any]:
    return {**asdict(new_server(tag)), "hostname": hostname, "created_at": datetime.now(UTC)}


@asynccontextmanager
async def held_by_another_process(place: Place) -> AsyncIterator[None]:
    """Let another process hold the lock of a SQLite file."""
    locker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        LOCKER,
        place.data_dir / "aoss.db",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert locker.stdout
        assert await locker.stdout.readline() == b"locked\n"
        yield
    finally:
        await locker.communicate(b"go\n")


async def test_a_sqlite_file_that_another_process_holds(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing waits and gives up in time, reading goes on; once it is free, writing works."""
    database = await impatient(sqlite_place, monkeypatch)
    records = Records(database)
    await records.server("web-1")
    async with held_by_another_process(sqlite_place):
        with unavailable_in_time() as refusal:
            await records.server("web-2")
        assert str(refusal.value) == "the database cannot be used now: database is locked"
        assert list(await records.servers.tags()) == ["web-1"]
    await records.server("web-2")
    assert list(await records.servers.tags()) == ["web-1", "web-2"]
    await database.close()


async def test_a_caller_that_is_cancelled_repeatedly_lets_the_loop_end(sqlite_place: Place) -> None:
    """No task of the driver's is left waiting, which would keep the process from shutting down."""
    database = Database(sqlite_place.url, sqlite_place.data_dir)
    await database.open(nothing)
    records = Records(database)
    async with held_by_another_process(sqlite_place):
        before = asyncio.all_tasks()
        caller = asyncio.create_task(records.server("web-1"))
        for _ in range(4):
            await asyncio.sleep(0.1)
            caller.cancel()
        await asyncio.wait({caller})
        left = asyncio.all_tasks() - before
    if left:
        await asyncio.wait(left, timeout=10)
    assert [task for task in left if not task.done()] == []
    await records.server("web-2")
    assert list(await records.servers.tags()) == ["web-2"]
    await database.close()


async def test_a_full_disk(sqlite_place: Place) -> None:
    """A batch that does not fit is refused whole, and stored once there is room."""
    database = Database(sqlite_place.url, sqlite_place.data_dir)
    await database.open(nothing)
    records = Records(database)
    execution = await records.execution(await records.server())

    def fill(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA max_page_count = 100")
        cursor.close()

    await database.close()
    event.listen(database.engine.sync_engine, "connect", fill)
    batch = [event_of(execution, 1), event_of(execution, 2, line="x" * 1_000_000)]
    with unavailable_in_time() as refusal:
        await records.executions.append(batch)
    assert str(refusal.value) == "the database cannot be used now: database or disk is full"
    assert list(await records.executions.events(execution.id, 0, 10)) == []
    event.remove(database.engine.sync_engine, "connect", fill)
    await database.close()
    await records.executions.append(batch)
    assert batch == list(await records.executions.events(execution.id, 0, 10))
    await database.close()
    with closing(sqlite3.connect(sqlite_place.data_dir / "aoss.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
