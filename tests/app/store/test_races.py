"""Tests of callers that meet: each race is run until both outcomes had their chance."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import ServerBusyError, UnknownServerError
from app.store.database import Database
from app.store.models import Execution
from app.store.servers import insert_server
from tests.app.store.conftest import Place, Records, event_of, new_server

ROUNDS = 50


@pytest.fixture
async def other(place: Place, database: Database) -> AsyncIterator[Records]:
    """Use the database as another worker would, over connections of its own."""
    opened = Database(place.url, place.data_dir)
    yield Records(opened)
    await opened.close()


async def test_no_execution_runs_on_a_deleted_server(records: Records, other: Records) -> None:
    """Either the deletion finds the execution, or the execution finds no server."""
    for number in range(ROUNDS):
        server = await records.server(f"web-{number}")
        steps = [records.execution(server), other.servers.delete(server.id)]
        if number % 2:
            steps.reverse()
        outcomes = await asyncio.gather(*steps, return_exceptions=True)
        started = [outcome for outcome in outcomes if isinstance(outcome, Execution)]
        if started:
            assert any(isinstance(outcome, ServerBusyError) for outcome in outcomes), outcomes
            assert server.id == (await records.executions.get(started[0].id)).server_id
        else:
            assert any(isinstance(outcome, UnknownServerError) for outcome in outcomes), outcomes
            assert None in outcomes
            with pytest.raises(UnknownServerError):
                await records.servers.get(server.id)


async def test_a_dead_worker_is_settled_by_one_of_those_who_try(records: Records, other: Records) -> None:
    """Each of its executions is given to one caller, so that it is counted once."""
    server = await records.server()
    lost = {(await records.execution(server, worker="dead")).id for _ in range(10)}
    callers = [each.executions.interrupt_worker("dead") for each in (records, other) * 3]
    settled = [execution.id for given in await asyncio.gather(*callers) for execution in given]
    assert sorted(lost) == sorted(settled)


async def test_many_owners_write_at_once(records: Records, other: Records) -> None:
    """24 executions with events from two workers: all are stored, each in order."""
    server = await records.server()
    running = [await records.execution(server) for _ in range(24)]

    async def write(each: Records, execution: Execution) -> None:
        for first in (1, 12, 23, 34):
            await each.executions.append([event_of(execution, seq) for seq in range(first, first + 11)])

    await asyncio.gather(
        *(write((records, other)[number % 2], execution) for number, execution in enumerate(running))
    )
    for execution in running:
        stored = await records.executions.events(execution.id, 0, 100)
        assert list(range(1, 45)) == [event.seq for event in stored]


async def test_a_caller_that_is_cancelled_leaves_nothing_behind(database: Database, records: Records) -> None:
    """Its transaction is rolled back, and the next one neither waits nor fails."""
    started = asyncio.Event()

    async def register() -> None:
        async with database.transaction() as session:
            await insert_server(session, new_server("half"))
            started.set()
            await asyncio.sleep(60)

    for _ in range(3):
        started.clear()
        task = asyncio.create_task(register())
        await started.wait()
        task.cancel()
        assert [
            isinstance(outcome, asyncio.CancelledError)
            for outcome in await asyncio.gather(task, return_exceptions=True)
        ] == [True]
    await asyncio.wait_for(records.server("whole"), 10)
    assert list(await records.servers.tags()) == ["whole"]
