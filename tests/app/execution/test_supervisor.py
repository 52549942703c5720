"""Executions of one worker: accepted, drained, written; on a real store with the real local runner."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.backend import Backend
from app.compliance.compliance import Compliance
from app.errors import AtCapacityError, ShuttingDownError
from app.execution.engine import Job
from app.execution.events import AgentSummary, Complete
from app.execution.log import ExecutionLog
from app.execution.writer import EventWriter
from app.planners.plan import PlanRequest, Step
from app.planners.runbook_planner import RunbookPlanner
from app.runners.base import Target
from app.runners.local import LocalRunner
from app.settings import Settings
from app.store.database import Database
from app.store.records import Ending, NewExecution, StoredEvent
from telemetry.labels import AgentType, ExecutionStatus
from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    """Return an open backend without its HTTP interface, for one execution at a time."""
    values = {
        "AOSS_DATA_DIR": str(tmp_path),
        "AOSS_DRAIN_SECONDS": "0.5",
        "AOSS_MAX_ACTIVE_EXECUTIONS": "1",
    }
    settings = Settings.from_environment(values)
    pipeline = Pipeline.start(TelemetrySettings.from_environment({}))
    opened = Backend(
        settings,
        database=Database("", tmp_path),
        planner=RunbookPlanner(),
        runners={"local": LocalRunner()},
        compliance=Compliance.load(),
        pipeline=pipeline,
    )
    await opened.open()
    yield opened
    await opened.close()
    pipeline.shutdown()


def job(*commands: str) -> Job:
    """Return a job on this machine."""
    request = PlanRequest("a test", AgentType.GENERAL, "localhost")
    return Job("e" * 32, request, [Step(command) for command in commands], Target(1, "localhost", "local"))


async def test_place_is_given_back(backend: Backend) -> None:
    """A place that was taken and not used is free again, and one in use is not."""
    with pytest.raises(ZeroDivisionError), backend.supervisor.place():
        raise ZeroDivisionError
    with backend.supervisor.place(), pytest.raises(AtCapacityError), backend.supervisor.place():
        pass


async def test_nothing_starts_once_draining_has_begun(backend: Backend) -> None:
    """A request that took its place before the drain is refused when it wants to start after that."""
    with backend.supervisor.place() as start:
        backend.supervisor.begin_drain(0.5)
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDownError):
            start(job("true"))
    await backend.supervisor.drain(0.5)
    assert backend.supervisor.active == 0


async def test_logs_are_forgotten_once_stored(backend: Backend) -> None:
    """An ended execution leaves the memory when the store has it whole."""
    with backend.supervisor.place() as start:
        log = start(job("true"))
    async with asyncio.timeout(10):
        while backend.supervisor.log_of(log.execution_id):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)
    assert log.complete


async def test_one_refused_event_does_not_hold_up_the_others(backend: Backend) -> None:
    """An event that the store refuses for a defect is dropped; those before and after it are stored."""

    class Refusing:
        def __init__(self) -> None:
            self.stored: list[int] = []

        async def append(self, events: list[StoredEvent], endings: list[Ending]) -> None:
            if any(event.seq == 2 for event in events):
                raise ZeroDivisionError
            self.stored += [event.seq for event in events]

    store: Any = Refusing()
    writer = EventWriter(store)
    log = ExecutionLog("e" * 32)
    for event in (AgentSummary("one"), AgentSummary("two"), AgentSummary("three")):
        seq, line = log.append(event)
        writer.put(log, StoredEvent("e" * 32, seq, event.type, line.decode()), None)
    writer.start()
    assert await writer.close(5)
    assert store.stored == [1, 3]
    assert log.committed == 3


async def test_an_execution_is_followed_to_its_stored_end(backend: Backend) -> None:
    """What a follower reads from memory is what the store then holds."""
    new = job("echo one", "echo two")
    await backend.executions.add(_record(backend, new))
    with backend.supervisor.place() as start:
        start(new)
    seen = [json.loads(line) async for line in backend.follower.lines(new.execution_id, 0)]
    assert seen[-1]["type"] == Complete.type
    stored = await backend.executions.events(new.execution_id, 0, 100)
    assert [json.loads(event.line) for event in stored] == seen
    assert (await backend.executions.get(new.execution_id)).status == ExecutionStatus.SUCCESS


def _record(backend: Backend, new: Job) -> NewExecution:
    return NewExecution(
        id=new.execution_id,
        server_id=1,
        agent_type=AgentType.GENERAL,
        query="a test",
        plan=[],
        host="here",
        worker=backend.worker,
        started_at=datetime.now(UTC),
    )
