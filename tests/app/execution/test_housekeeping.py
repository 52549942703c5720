"""A worker's duties on a real store: leases, retention, signs of life."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.execution.housekeeping import LEASE, Housekeeping
from app.execution.supervisor import Supervisor
from app.store.database import Database
from app.store.executions import Executions
from app.store.records import Ending, NewExecution, StoredEvent
from app.store.servers import NewServer, insert_server
from telemetry.labels import AgentType, ExecutionStatus

SERVER = NewServer(tag="localhost", runner="local", ip_address="127.0.0.1", hostname="localhost")


class IdleSupervisor(Supervisor):
    """A supervisor that runs nothing, as that of a worker without executions."""

    def __init__(self) -> None:
        self._running = {}
        self._logs = {}


@pytest.fixture
async def executions(tmp_path: Path) -> AsyncIterator[Executions]:
    """Return the executions of a new store with one server."""

    async def first_start(session: AsyncSession) -> None:
        await insert_server(session, SERVER)

    database = Database("", tmp_path)
    await database.open(first_start)
    yield Executions(database)
    await database.close()


async def add(executions: Executions, age: timedelta) -> str:
    """Record a running execution of a worker elsewhere, whose last sign of life is `age` old."""
    execution_id = uuid4().hex
    await executions.add(
        NewExecution(
            id=execution_id,
            server_id=1,
            agent_type=AgentType.GENERAL,
            query="a test",
            plan=[],
            host="elsewhere",
            worker="w" * 32,
            started_at=datetime.now(UTC) - age,
        )
    )
    return execution_id


async def kept_house(executions: Executions, tmp_path: Path, until: Callable[[], Awaitable[bool]]) -> None:
    """Let the duties run until an awaitable condition holds."""
    housekeeping = Housekeeping(
        executions,
        IdleSupervisor(),
        worker="x" * 32,
        workers_directory=tmp_path / "workers",
        retention=timedelta(days=30),
    )
    housekeeping.start()
    try:
        async with asyncio.timeout(10):
            while not await until():  # noqa: ASYNC110 - nothing tells of changes in the store
                await asyncio.sleep(0.05)
    finally:
        await housekeeping.stop()


async def test_lease(executions: Executions, tmp_path: Path) -> None:
    """An execution without a sign of life for a lease is given up; one with a younger sign is not."""
    silent = await add(executions, LEASE + timedelta(seconds=5))
    alive = await add(executions, LEASE - timedelta(seconds=30))

    async def given_up() -> bool:
        return (await executions.get(silent)).status == ExecutionStatus.INTERRUPTED

    await kept_house(executions, tmp_path, given_up)
    assert (await executions.get(silent)).interrupted_by_lease
    assert (await executions.get(alive)).status == "Running"


async def test_owners_own_ending_replaces_the_lease(executions: Executions, tmp_path: Path) -> None:
    """An owner that had only lost the database ends its execution as it really ended, with all its events."""
    silent = await add(executions, LEASE + timedelta(seconds=5))

    async def given_up() -> bool:
        return (await executions.get(silent)).status == ExecutionStatus.INTERRUPTED

    await kept_house(executions, tmp_path, given_up)
    event = StoredEvent(silent, 1, "complete", "{}")
    await executions.append([event], [Ending(silent, ExecutionStatus.SUCCESS, datetime.now(UTC))])
    ended = await executions.get(silent)
    assert (ended.status, ended.interrupted_by_lease) == ("Success", False)
    assert [each.seq for each in await executions.events(silent, 0, 10)] == [1]


async def test_retention(executions: Executions, tmp_path: Path) -> None:
    """History older than the retention is deleted, younger history and what runs is not."""
    old = await add(executions, timedelta(days=31))
    young = await add(executions, timedelta(days=29))
    for execution_id, age in ((old, 31), (young, 29)):
        ended = datetime.now(UTC) - timedelta(days=age)
        await executions.append([], [Ending(execution_id, ExecutionStatus.SUCCESS, ended)])

    async def purged() -> bool:
        return old not in [each.id for each in await executions.list(10)]

    await kept_house(executions, tmp_path, purged)
    assert [each.id for each in await executions.list(10)] == [young]
