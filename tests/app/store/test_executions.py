"""Tests of how executions are recorded and read back."""

import json
from datetime import timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event

from app.errors import UnknownExecutionError, UnknownServerError
from app.store.database import Database
from app.store.executions import Executions
from app.store.models import RUNNING, Server
from app.store.records import Ending
from telemetry.labels import ExecutionStatus
from tests.app.store.conftest import START, Records, event_of


async def test_an_execution_starts_as_running(records: Records) -> None:
    """What was recorded comes back, with times in UTC."""
    server = await records.server("web-1")
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    added = await records.execution(server, started_at=elsewhere)
    execution = await records.executions.get(added.id)
    assert (
        execution.query,
        execution.plan,
        execution.agent_type,
        execution.server_tag,
        execution.status,
        (execution.started_at, execution.heartbeat_at, execution.finished_at),
        (execution.cancel_requested, execution.interrupted_by_lease, execution.agent_summary),
    ) == (
        "why is it slow?",
        [{"step": 1, "command": "ss -s", "description": "sockets"}],
        "network",
        "web-1",
        RUNNING,
        (START, START, None),
        (False, False, None),
    )
    assert timedelta(0) == execution.started_at.utcoffset()


async def test_an_execution_needs_its_server(records: Records) -> None:
    """One whose server was deleted in the meantime is not recorded."""
    server = await records.server()
    await records.servers.delete(server.id)
    with pytest.raises(UnknownServerError):
        await records.execution(server)
    assert list(await records.executions.list(10)) == []


@pytest.mark.parametrize("execution_id", ["0" * 32, "", "x" * 5000, "nul\x00", "\ud800"])
async def test_an_unknown_execution_is_an_error_whatever_its_id(
    executions: Executions, execution_id: str
) -> None:
    """No text that an address may hold makes the query itself fail."""
    with pytest.raises(UnknownExecutionError):
        await executions.get(execution_id)
    assert list(await executions.events(execution_id, 0, 10)) == []


async def test_pages_are_newest_first_and_whole(records: Records) -> None:
    """Executions that started at the same moment are neither repeated nor left out between pages."""
    server = await records.server()
    ids = []
    for number in range(9):
        moment = START + timedelta(seconds=number // 4)
        ids.append((await records.execution(server, started_at=moment, execution_id=f"{number:032}")).id)
    pages: list[str] = []
    before = None
    while page := await records.executions.list(2, before):
        pages += [execution.id for execution in page]
        before = page[-1].id
    assert list(reversed(ids)) == pages


async def test_nothing_comes_before_an_unknown_execution(records: Records) -> None:
    """A page after one that was purged is empty: all that is older has been purged as well."""
    await records.execution(await records.server())
    assert list(await records.executions.list(10, before="0" * 32)) == []


async def test_lists_can_be_narrowed(records: Records) -> None:
    """By server, by status, and by both."""
    web, db = await records.server("web"), await records.server("db")
    running, ended = await records.execution(web), await records.execution(web)
    other = await records.execution(db)
    await records.executions.append([], [Ending(ended.id, ExecutionStatus.FAILED, START)])

    async def listed(**filters: Any) -> set[str]:
        return {execution.id for execution in await records.executions.list(10, **filters)}

    assert {running.id, ended.id, other.id} == await listed()
    assert {running.id, ended.id} == await listed(server_id=web.id)
    assert {running.id, other.id} == await listed(status=RUNNING)
    assert {ended.id} == await listed(server_id=web.id, status=ExecutionStatus.FAILED)


async def test_events_come_in_order_and_in_pages(records: Records) -> None:
    """Reading goes on after any event, whatever the order in which they were written."""
    execution = await records.execution(await records.server())
    written = [
        event_of(execution, seq, line=f'{{"seq":{seq},"text":"\u00e9\U0001f600"}}') for seq in range(1, 6)
    ]
    await records.executions.append(list(reversed(written)))
    assert written == list(await records.executions.events(execution.id, 0, 10))
    assert written[2:4] == list(await records.executions.events(execution.id, 2, 2))
    assert list(await records.executions.events(execution.id, 10**12, 2)) == []


async def _run_with_result(records: Records, server: Server, second: int, command: str) -> str:
    execution = await records.execution(server, started_at=START + timedelta(seconds=second))
    line = json.dumps({"status": "success", "result": {"command": command}})
    results = [event_of(execution, seq, "step_result", line) for seq in (2, 4)]
    await records.executions.append([event_of(execution, 1), event_of(execution, 3), *results])
    return execution.id


async def test_history_holds_the_results_of_each_step(records: Records) -> None:
    """Newest first, results in order, executions of other servers left out, in pages."""
    web, db = await records.server("web"), await records.server("db")
    ids = [await _run_with_result(records, web, second, f"echo {second}") for second in range(3)]
    await _run_with_result(records, db, 5, "psql")
    page = await records.executions.history(web.id, 2)
    assert [
        (ids[2], [{"command": "echo 2"}] * 2),
        (ids[1], [{"command": "echo 1"}] * 2),
    ] == [(entry.execution.id, list(entry.results)) for entry in page]
    rest = await records.executions.history(web.id, 2, before=page[-1].execution.id)
    assert [ids[0]] == [entry.execution.id for entry in rest]


async def test_history_takes_three_queries_however_long(database: Database, records: Records) -> None:
    """The results are not fetched execution by execution."""
    server = await records.server()
    for second in range(5):
        await _run_with_result(records, server, second, "uptime")
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    assert len(await records.executions.history(server.id, 10)) == 5
    assert len(statements) == 3


async def test_history_of_much_output_comes_in_smaller_pages(
    records: Records, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends where its results would exceed the budget; no execution is left out."""
    monkeypatch.setattr("app.store.executions.HISTORY_BYTES", 1000)
    server = await records.server()
    made = []
    for minute in range(4):
        execution = await records.execution(server, started_at=START + timedelta(minutes=minute))
        line = json.dumps({"result": {"stdout": "x" * 600}})
        await executions.append([event_of(execution, 1, "step_result", line)])
        made.append(execution.id)
    seen: list[str] = []
    while page := await executions.history(server.id, 3, seen[-1] if seen else None):
        assert len(page) == 1
        seen.append(page[0].execution.id)
    assert seen == made[::-1]
