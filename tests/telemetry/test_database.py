"""Statements counted on a real database."""

from collections.abc import Iterator

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
    union,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session
from sqlalchemy.sql import Executable

from telemetry.pipeline import Pipeline
from tests.telemetry.scraping import scrape

METADATA = MetaData()
JOBS = Table("jobs", METADATA, Column("id", Integer, primary_key=True), Column("n", Integer))
NOTES = Table("notes", METADATA, Column("id", Integer, primary_key=True))


class Base(DeclarativeBase):
    """Declare one mapped class over the same table."""

    metadata = METADATA


class Job(Base):
    """A mapped row."""

    __table__ = JOBS
    id: Mapped[int]


def counted(pipeline: Pipeline) -> dict[tuple[str, str], float]:
    return {
        (dict(labels)["operation"], dict(labels)["table"]): number
        for (name, labels), number in scrape(pipeline).items()
        if name == "aoss_db_operations_total"
    }


@pytest.fixture
def connection(pipeline: Pipeline) -> Iterator[Connection]:
    """Give a counted connection to a database with tables."""
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    pipeline.count_statements(engine)
    with engine.connect() as connected:
        yield connected
    engine.dispose()


CTE = select(JOBS.c.id).cte("z")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (insert(JOBS).values(n=1), ("insert", "jobs")),
        (insert(JOBS).from_select(["id"], select(NOTES.c.id)), ("insert", "jobs")),
        (update(JOBS).values(n=2), ("update", "jobs")),
        (delete(JOBS).where(JOBS.c.id.in_(select(NOTES.c.id))), ("delete", "jobs")),
        (select(JOBS), ("select", "jobs")),
        (select(Job), ("select", "jobs")),
        (select(func.count()).select_from(NOTES), ("select", "notes")),
        (select(JOBS.alias("x").c.id), ("select", "jobs")),
        (select(JOBS.join(NOTES, JOBS.c.id == NOTES.c.id)), ("select", "jobs")),
        (select(select(NOTES.c.id).subquery().c.id), ("select", "notes")),
        (select(CTE.c.id), ("select", "jobs")),
        (union(select(NOTES.c.id), select(NOTES.c.id)), ("select", "notes")),
        (select(1), ("select", "unknown")),
        (text("select * from jobs"), ("select", "unknown")),
        (text("pragma user_version"), ("other", "unknown")),
        (text("  /* hi */ select 1"), ("other", "unknown")),
    ],
)
def test_a_statement_counts_by_operation_and_table(
    pipeline: Pipeline, connection: Connection, statement: Executable, expected: tuple[str, str]
) -> None:
    """Operation and table come from the expression; raw text gives its first word and no table."""
    connection.execute(statement)
    connection.execute(statement)
    assert counted(pipeline) == {expected: 2.0}


def test_many_rows_are_one_statement(pipeline: Pipeline, connection: Connection) -> None:
    """A statement sent once with many rows counts once."""
    connection.execute(insert(JOBS), [{"n": 1}, {"n": 2}, {"n": 3}])
    assert counted(pipeline) == {("insert", "jobs"): 1.0}


async def test_an_asynchronous_engine_counts(pipeline: Pipeline) -> None:
    """Through the engine that the backend uses every statement counts, those with many rows too."""
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    pipeline.count_statements(engine.sync_engine)
    async with engine.begin() as connection:
        await connection.execute(insert(JOBS), [{"n": 1}, {"n": 2}])
        await connection.execute(select(JOBS))
        await connection.exec_driver_sql("pragma user_version")
    await engine.dispose()
    assert counted(pipeline) == {
        ("insert", "jobs"): 1.0,
        ("select", "jobs"): 1.0,
        ("other", "unknown"): 1.0,
    }


def test_a_refused_statement_counts(pipeline: Pipeline, connection: Connection) -> None:
    """What the database refuses was sent to it all the same."""
    with pytest.raises(OperationalError):
        connection.execute(text("select * from absent"))
    assert counted(pipeline) == {("select", "unknown"): 1.0}


def test_a_session_counts_what_it_emits(pipeline: Pipeline, connection: Connection) -> None:
    """The mapper's own statements count like written ones."""
    with Session(connection) as session:
        session.add(Job(id=7))
        session.flush()
        session.expire_all()
        assert session.get(Job, 7) is not None
    assert counted(pipeline) == {("insert", "jobs"): 1.0, ("select", "jobs"): 1.0}


def test_a_failure_of_telemetry_leaves_the_statement_alone(
    pipeline: Pipeline, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that cannot be classified runs, and is reported once."""
    monkeypatch.setattr("telemetry.database._table", lambda _: 1 / 0)
    assert connection.execute(select(1)).scalar() == 1
    assert pipeline.instruments.failures.counts == {"statement": 1}
