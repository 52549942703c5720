"""Tests of cancellation, signs of life, dead workers and old history."""

from datetime import timedelta

from app.store.models import RUNNING
from app.store.records import CancelRequest, Ending
from telemetry.labels import ExecutionStatus
from tests.app.store.conftest import START, Records, event_of

SECOND = timedelta(seconds=1)


async def test_only_a_running_execution_can_be_cancelled(records: Records) -> None:
    """A request may be repeated while it runs; afterwards it is told that it comes too late."""
    execution = await records.execution(await records.server())
    assert await records.executions.request_cancel(execution.id) == CancelRequest.REQUESTED
    assert await records.executions.request_cancel(execution.id) == CancelRequest.REQUESTED
    await records.executions.append([], [Ending(execution.id, ExecutionStatus.CANCELLED, START)])
    assert await records.executions.request_cancel(execution.id) == CancelRequest.ENDED
    assert await records.executions.request_cancel("0" * 32) == CancelRequest.UNKNOWN


async def test_a_worker_hears_of_its_own_cancellations(records: Records) -> None:
    """Not of those of others, nor of what has ended."""
    server = await records.server()
    mine, ended, others = [
        await records.execution(server, worker=worker) for worker in ("worker-a", "worker-a", "worker-b")
    ]
    await records.execution(server, worker="worker-a")
    for execution in (mine, ended, others):
        await records.executions.request_cancel(execution.id)
    await records.executions.append([], [Ending(ended.id, ExecutionStatus.SUCCESS, START)])
    assert [mine.id] == list(await records.executions.cancel_requested("worker-a"))


async def test_a_heartbeat_is_for_the_workers_running_executions(records: Records) -> None:
    """Those of other workers and those that ended keep theirs."""
    server = await records.server()
    running, ended, others = [
        await records.execution(server, worker=worker) for worker in ("worker-a", "worker-a", "worker-b")
    ]
    await records.executions.append([], [Ending(ended.id, ExecutionStatus.SUCCESS, START)])
    ended_at = (await records.executions.get(ended.id)).heartbeat_at
    await records.executions.heartbeat("worker-a", START + SECOND)
    assert [START + SECOND, ended_at, START] == [
        (await records.executions.get(execution.id)).heartbeat_at for execution in (running, ended, others)
    ]


async def test_a_dead_workers_executions_are_interrupted_once(records: Records) -> None:
    """They end at the last sign of life, and only the first caller is told of them."""
    server = await records.server("web-1")
    lost = await records.execution(server, worker="dead")
    ended = await records.execution(server, worker="dead")
    alive = await records.execution(server, worker="alive")
    await records.executions.append([], [Ending(ended.id, ExecutionStatus.SUCCESS, START)])
    await records.executions.heartbeat("dead", START + 7 * SECOND)
    interrupted = await records.executions.interrupt_worker("dead")
    assert [(lost.id, "network", "web-1", START, START + 7 * SECOND, "Interrupted")] == [
        (each.id, each.agent_type, each.server_tag, each.started_at, each.finished_at, each.status)
        for each in interrupted
    ]
    assert list(await records.executions.interrupt_worker("dead")) == []
    assert (await records.executions.get(ended.id)).status == "Success"
    assert (await records.executions.get(alive.id)).status == RUNNING


async def test_a_lease_that_ran_out_interrupts(records: Records) -> None:
    """Executions without a recent sign of life are given up, marked so, at their last sign of life."""
    server = await records.server()
    silent = await records.execution(server, worker="silent", started_at=START)
    lively = await records.execution(server, worker="lively", started_at=START)
    await records.executions.heartbeat("lively", START + 60 * SECOND)
    assert [silent.id] == list(
        await records.executions.interrupt_expired(START + 30 * SECOND, worker="worker-b")
    )
    assert list(await records.executions.interrupt_expired(START + 30 * SECOND, worker="worker-b")) == []
    given_up = await records.executions.get(silent.id)
    assert (
        given_up.status,
        given_up.finished_at,
        given_up.interrupted_by_lease,
    ) == ("Interrupted", START, True)
    assert (await records.executions.get(lively.id)).status == RUNNING


async def test_an_execution_given_up_by_lease_still_belongs_to_its_worker(records: Records) -> None:
    """Its heartbeat moves, its cancellation is heard, and the worker's death makes the mark final."""
    execution = await records.execution(await records.server(), worker="worker-a")
    await records.executions.request_cancel(execution.id)
    await records.executions.interrupt_expired(START + SECOND, worker="worker-b")
    await records.executions.heartbeat("worker-a", START + 70 * SECOND)
    assert [execution.id] == list(await records.executions.cancel_requested("worker-a"))
    interrupted = await records.executions.interrupt_worker("worker-a")
    assert [(execution.id, START + 70 * SECOND, False)] == [
        (each.id, each.finished_at, each.interrupted_by_lease) for each in interrupted
    ]


async def test_old_history_is_purged_in_batches(records: Records) -> None:
    """Oldest first, with their events; what runs or is recent stays."""
    server = await records.server()
    old = [await records.execution(server) for _ in range(3)]
    recent, running = await records.execution(server), await records.execution(server)
    events = [event_of(execution, 1) for execution in (*old, recent, running)]
    endings = [
        Ending(execution.id, ExecutionStatus.SUCCESS, START + number * SECOND)
        for number, execution in enumerate(old)
    ]
    endings.append(Ending(recent.id, ExecutionStatus.SUCCESS, START + 60 * SECOND))
    await records.executions.append(events, endings)
    limit = START + 30 * SECOND
    assert await records.executions.purge(limit, 2) == 2
    assert {old[2].id, recent.id, running.id} == {each.id for each in await records.executions.list(10)}
    assert [await records.executions.purge(limit, 2) for _ in range(2)] == [1, 0]
    assert {recent.id, running.id} == {each.id for each in await records.executions.list(10)}
    assert [
        [event.seq for event in await records.executions.events(execution.id, 0, 10)]
        for execution in (*old, recent, running)
    ] == [[], [], [], [1], [1]]
