"""Tests of what an owner writes: events and endings, in batches that may be repeated."""

from datetime import UTC, datetime, timedelta

import pytest

from app.store.models import RUNNING, Execution
from app.store.records import Ending, StoredEvent
from telemetry.labels import ExecutionStatus
from tests.app.store.conftest import START, Records, event_of

LATER = START + timedelta(seconds=90)


def _state(execution: Execution) -> tuple[str, datetime | None, str | None, bool]:
    return execution.status, execution.finished_at, execution.agent_summary, execution.interrupted_by_lease


async def test_one_batch_serves_many_executions(records: Records) -> None:
    """Events go to their executions, endings take effect, the others go on."""
    server = await records.server()
    first, second = await records.execution(server), await records.execution(server)
    await records.executions.append(
        [event_of(first, 1), event_of(second, 1), event_of(first, 2)],
        [Ending(first.id, ExecutionStatus.SUCCESS, LATER, "all is well")],
    )
    assert [event.seq for event in await records.executions.events(first.id, 0, 10)] == [1, 2]
    assert [event.seq for event in await records.executions.events(second.id, 0, 10)] == [1]
    assert _state(await records.executions.get(first.id)) == ("Success", LATER, "all is well", False)
    assert _state(await records.executions.get(second.id)) == (RUNNING, None, None, False)


async def test_a_batch_may_be_repeated(records: Records) -> None:
    """A second attempt adds what is new and changes nothing that is stored."""
    execution = await records.execution(await records.server())
    events = [event_of(execution, seq) for seq in (1, 2)]
    ending = Ending(execution.id, ExecutionStatus.FAILED, LATER)
    await records.executions.append(events, [ending])
    again = [StoredEvent(execution.id, 2, "other", "changed"), event_of(execution, 3)]
    await records.executions.append(events + again, [ending])
    assert [*events, event_of(execution, 3)] == list(await records.executions.events(execution.id, 0, 10))
    assert _state(await records.executions.get(execution.id)) == ("Failed", LATER, None, False)


async def test_an_empty_batch_is_nothing(records: Records) -> None:
    """Appending nothing does nothing."""
    await records.executions.append([])
    assert list(await records.executions.list(1)) == []


async def test_a_batch_outlives_a_purged_execution(records: Records) -> None:
    """What belongs to an execution that is gone is dropped, and the rest is stored."""
    execution = await records.execution(await records.server())
    await records.executions.append(
        [StoredEvent("f" * 32, 1, "step_start", "{}"), event_of(execution, 1)],
        [Ending("f" * 32, ExecutionStatus.SUCCESS, LATER)],
    )
    assert [event_of(execution, 1)] == list(await records.executions.events(execution.id, 0, 10))
    assert list(await records.executions.events("f" * 32, 0, 10)) == []


@pytest.mark.parametrize(
    ("line", "stored"),
    [
        ("a\x00b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("a\udfffb\ud83d", "a\ufffdb\ufffd"),
        ("a\ud83d\ude00b", "a\U0001f600b"),
        ("plain \u00e9 \U0001f600", "plain \u00e9 \U0001f600"),
    ],
)
async def test_a_line_that_cannot_be_stored_does_not_hold_up_its_batch(
    records: Records, line: str, stored: str
) -> None:
    """NUL and lone surrogates are replaced, in lines and in the summary."""
    execution = await records.execution(await records.server())
    await records.executions.append(
        [event_of(execution, 1, line=line)], [Ending(execution.id, ExecutionStatus.SUCCESS, LATER, line)]
    )
    assert [stored] == [event.line for event in await records.executions.events(execution.id, 0, 10)]
    assert stored == (await records.executions.get(execution.id)).agent_summary


async def test_appending_is_a_sign_of_life(records: Records) -> None:
    """The heartbeat moves with the events."""
    execution = await records.execution(await records.server())
    before = datetime.now(UTC)
    await records.executions.append([event_of(execution, 1)])
    assert before <= (await records.executions.get(execution.id)).heartbeat_at


async def test_the_owners_ending_replaces_one_by_lease(records: Records) -> None:
    """An owner that merely lost the database has the last word."""
    execution = await records.execution(await records.server())
    await records.executions.interrupt_expired(LATER, worker="worker-b")
    await records.executions.append([], [Ending(execution.id, ExecutionStatus.SUCCESS, LATER, "done")])
    assert _state(await records.executions.get(execution.id)) == ("Success", LATER, "done", False)


@pytest.mark.parametrize("worker_died", [True, False])
async def test_an_ending_is_final(records: Records, worker_died: bool) -> None:  # noqa: FBT001 - a parameter
    """An execution that ended, or whose worker is known to have died, keeps its ending."""
    execution = await records.execution(await records.server(), worker="worker-a")
    if worker_died:
        await records.executions.interrupt_worker("worker-a")
    else:
        await records.executions.append([], [Ending(execution.id, ExecutionStatus.CANCELLED, START)])
    kept = _state(await records.executions.get(execution.id))
    await records.executions.append([], [Ending(execution.id, ExecutionStatus.SUCCESS, LATER, "too late")])
    assert kept == _state(await records.executions.get(execution.id))
    assert kept[0] in ("Interrupted", "Cancelled")
