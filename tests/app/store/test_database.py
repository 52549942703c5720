"""Tests of how a database is set up and opened."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import StoreUnavailableError, StoreVersionError
from app.store import migrations
from app.store.database import Database
from app.store.models import Base
from app.store.servers import Servers, insert_server
from tests.app.store.conftest import Place, Records, new_server, nothing

STARTER = """
import asyncio, os, sys
from pathlib import Path
from app.store.database import Database
from app.store.servers import NewServer, insert_server

async def first_start(session):
    await insert_server(session, NewServer(f"worker-{os.getpid()}", "local", "127.0.0.1", "localhost"))
    await asyncio.sleep(0.2)

async def main():
    database = Database(sys.argv[1], Path(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    await database.open(first_start)
    await database.ping()
    await database.close()
    print("opened", flush=True)

asyncio.run(main())
"""


async def test_workers_that_start_at_once_set_up_once(place: Place) -> None:
    """Of four processes one migrates and runs the first start; all find the database ready."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            STARTER,
            place.url,
            str(place.data_dir),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert await process.stdout.readline() == b"ready\n"
        results = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert [output for output, _ in results] == [b"opened\n"] * 4
    database = Database(place.url, place.data_dir)
    try:
        assert len(await Servers(database).tags()) == 1
    finally:
        await database.close()


@pytest.fixture
async def unopened(place: Place) -> AsyncIterator[Database]:
    """Return a database of each kind that was never opened."""
    database = Database(place.url, place.data_dir)
    yield database
    await database.close()


async def test_a_first_start_that_fails_is_made_up_for(unopened: Database) -> None:
    """Nothing of it stays, so that the next start is the first again."""

    async def fails(session: AsyncSession) -> None:
        await insert_server(session, new_server("half"))
        raise RuntimeError("no")

    async def works(session: AsyncSession) -> None:
        await insert_server(session, new_server("whole"))

    with pytest.raises(RuntimeError, match="no"):
        await unopened.open(fails)
    await unopened.open(works)
    await unopened.open(fails)
    assert list(await Servers(unopened).tags()) == ["whole"]


async def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    """Autogenerating a migration would find nothing to do."""

    def differences(connection: Connection) -> Any:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata
        )

    async with database.snapshot() as session:
        assert await (await session.connection()).run_sync(differences) == []


async def test_the_migrations_can_be_taken_back(database: Database) -> None:
    """Downgrading to the base leaves no table of ours."""

    def downgrade(connection: Connection) -> list[str]:
        config = migrations.configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        return inspect(connection).get_table_names()

    async with database.transaction() as session:
        assert await (await session.connection()).run_sync(downgrade) == ["alembic_version"]


async def test_a_database_of_a_later_version_is_refused(database: Database) -> None:
    """Opening it names both revisions and changes nothing; it is not ready either."""
    async with database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'f00d'"))
    with pytest.raises(StoreVersionError, match=f"'f00d'.*'{migrations.head()}'"):
        await database.open(nothing)
    with pytest.raises(StoreUnavailableError, match="'f00d'"):
        await database.ping()


async def test_a_database_is_ready_once_it_is_set_up(unopened: Database) -> None:
    """Before that the ping says what is missing."""
    if unopened.dialect == "postgresql":
        with pytest.raises(StoreUnavailableError, match="schema revision None"):
            await unopened.ping()
    else:
        with pytest.raises(StoreUnavailableError, match="unable to open database file"):
            await unopened.ping()
    await unopened.open(nothing)
    await unopened.ping()


async def test_statements_can_be_observed(database: Database, records: Records) -> None:
    """Listeners on the engine hear what is read and written, and nothing else."""
    heard: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement.split(maxsplit=1)[0])

    event.listen(database.engine.sync_engine, "before_cursor_execute", hear)
    server = await records.server()
    await records.servers.get(server.id)
    assert heard == ["INSERT", "SELECT"]


async def test_a_sqlite_database_is_private(sqlite_place: Place) -> None:
    """Its folder and all its files are for their owner only, whatever the umask and whatever they were."""
    umask = os.umask(0)
    try:
        database = Database(sqlite_place.url, sqlite_place.data_dir)
        await database.open(nothing)
        await Records(database).server()
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (sqlite_place.data_dir, *sqlite_place.data_dir.iterdir())
        }
        await database.close()
    finally:
        os.umask(umask)
    assert modes == {
        "data": 0o700,
        "aoss.db": 0o600,
        "aoss.db-wal": 0o600,
        "aoss.db-shm": 0o600,
        "aoss.db.lock": 0o600,
    }


async def test_sqlite_is_set_up_for_several_processes(sqlite_place: Place) -> None:
    """Write-ahead log, its matching durability, a busy time-out, and foreign keys."""
    database = Database(sqlite_place.url, sqlite_place.data_dir)
    await database.open(nothing)
    async with database.snapshot() as session:
        pragmas = {
            name: await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    await database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 5000, "foreign_keys": 1}


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A data directory below a file is an error that shows the path."""
    (tmp_path / "file").touch()
    database = Database("", tmp_path / "file" / "data")
    with pytest.raises(StoreUnavailableError, match=f"{tmp_path}/file/data.*Not a directory"):
        await database.open(nothing)


async def test_a_file_that_is_no_database_is_refused(sqlite_place: Place) -> None:
    """It is neither used nor overwritten."""
    sqlite_place.data_dir.mkdir()
    path = sqlite_place.data_dir / "aoss.db"
    path.write_bytes(b"minutes of the last meeting\n" * 100)
    database = Database(sqlite_place.url, sqlite_place.data_dir)
    with pytest.raises(StoreUnavailableError, match="file is not a database"):
        await database.open(nothing)
    await database.close()
    assert path.read_bytes() == b"minutes of the last meeting\n" * 100
