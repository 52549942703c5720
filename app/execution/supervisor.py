"""The executions of one worker: started as tasks that outlive their HTTP stream, stopped, drained."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from app.errors import AtCapacityError, ShuttingDownError
from app.execution.engine import Engine, Job
from app.execution.events import AgentSummary, Complete, Event, ExecutionError
from app.execution.log import ExecutionLog
from app.execution.stop import Stop
from app.execution.writer import EventWriter
from app.store.records import Ending, StoredEvent
from telemetry.labels import ErrorType, ExecutionStatus

STOP_LIMIT_SECONDS = 5.0

# Events, persona, server and execution id → the same events, measured on their way.
Measure = Callable[[AsyncIterator[Event], str, str, str], AbstractAsyncContextManager[AsyncIterator[Event]]]
"""Wrap a stream of events, an agent type and a server tag; yields the same events, measured."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    job: Job
    stop: Stop
    log: ExecutionLog
    task: asyncio.Task[None]


class Supervisor:
    """Start executions and answer for those that this worker runs."""

    def __init__(self, engine: Engine, writer: EventWriter, measure: Measure, *, max_active: int) -> None:
        self._engine = engine
        self._writer = writer
        self._measure = measure
        self._max_active = max_active
        self._running: dict[str, _Running] = {}
        self._logs: dict[str, ExecutionLog] = {}
        self._reserved = 0
        self._drain: asyncio.Task[None] | None = None
        self.closing = asyncio.Event()

    @property
    def active(self) -> int:
        """Return how many executions run in this worker."""
        return len(self._running)

    @contextmanager
    def place(self) -> Iterator[Callable[[Job], ExecutionLog]]:
        """Hold a place for one execution, and give the function that starts it there.

        Both raise ShuttingDownError once draining has begun, and taking the place AtCapacityError.
        """
        self._refuse_while_draining()
        if len(self._running) + self._reserved >= self._max_active:
            raise AtCapacityError(
                f"{self._max_active} executions are running in this worker, which is its limit "
                "(AOSS_MAX_ACTIVE_EXECUTIONS); try again shortly"
            )
        self._reserved += 1
        try:
            yield self._start
        finally:
            self._reserved -= 1

    def log_of(self, execution_id: str) -> ExecutionLog | None:
        """Return the log of an execution whose events this worker still holds."""
        return self._logs.get(execution_id)

    def cancel(self, execution_id: str) -> bool:
        """Stop an execution; return whether this worker runs it and it has not ended."""
        running = self._running.get(execution_id)
        if running is None or running.log.complete:
            return False
        running.stop.request(ExecutionStatus.CANCELLED)
        return True

    def disown(self, execution_id: str) -> None:
        """End an execution that never started, although the store may have recorded that it did."""
        self._keep(ExecutionLog(execution_id), Complete(execution_id, ExecutionStatus.INTERRUPTED), None)

    def begin_drain(self, limit_seconds: float) -> None:
        """Accept nothing new, and stop what still runs after `limit_seconds`."""
        if not self._drain:
            self._drain = asyncio.create_task(self._drained(limit_seconds), name="drain")
            self.closing.set()

    async def drain(self, limit_seconds: float) -> None:
        """Begin to drain, unless that has happened, and wait until nothing runs."""
        self.begin_drain(limit_seconds)
        if self._drain:
            await self._drain

    async def _drained(self, limit_seconds: float) -> None:
        if self._running:
            log.info("draining", active=self.active, limit_seconds=limit_seconds)
        await self._wait(limit_seconds)
        for running in self._running.values():
            running.stop.request(ExecutionStatus.INTERRUPTED)
        await self._wait(STOP_LIMIT_SECONDS)
        for running in list(self._running.values()):
            log.error("an execution did not stop in time", execution_id=running.job.execution_id)
            running.task.cancel()
        await self._wait(STOP_LIMIT_SECONDS)

    async def _wait(self, limit_seconds: float) -> None:
        """Wait until nothing runs, and nobody who took a place is still on the way to a refusal."""
        deadline = time.monotonic() + limit_seconds
        while (self._running or self._reserved) and (left := deadline - time.monotonic()) > 0:
            tasks = {running.task for running in self._running.values()}
            if tasks:
                await asyncio.wait(tasks, timeout=left)
            else:
                await asyncio.sleep(min(left, 0.05))

    def _refuse_while_draining(self) -> None:
        if self._drain:
            raise ShuttingDownError("the backend is shutting down and starts nothing new")

    def _start(self, job: Job) -> ExecutionLog:
        self._refuse_while_draining()
        execution_log = ExecutionLog(job.execution_id)
        stop = Stop()
        task = asyncio.create_task(self._execute(job, stop, execution_log), name=job.execution_id)
        self._running[job.execution_id] = _Running(job, stop, execution_log, task)
        self._logs[job.execution_id] = execution_log
        task.add_done_callback(lambda _: self._ended(job.execution_id))
        return execution_log

    def _ended(self, execution_id: str) -> None:
        del self._running[execution_id]
        self.forget_committed()

    def forget_committed(self) -> None:
        """Drop the logs of ended executions that the store has whole."""
        for execution_id, execution_log in list(self._logs.items()):
            if execution_id not in self._running and execution_log.committed == execution_log.appended:
                del self._logs[execution_id]

    async def _execute(self, job: Job, stop: Stop, execution_log: ExecutionLog) -> None:
        with structlog.contextvars.bound_contextvars(execution_id=job.execution_id):
            log.info(
                "execution started",
                server=job.target.tag,
                agent_type=job.request.agent_type,
                steps=len(job.plan),
            )
            status = ExecutionStatus.FAILED
            summary: str | None = None
            try:
                stream = self._engine.run(job, stop)
                async with self._measure(
                    stream, job.request.agent_type, job.target.tag, job.execution_id
                ) as events:
                    async for event in events:
                        if isinstance(event, AgentSummary):
                            summary = event.content
                        if isinstance(event, Complete):
                            status = event.final_status
                        self._keep(execution_log, event, summary)
            except asyncio.CancelledError:
                status = ExecutionStatus.INTERRUPTED
                self._keep(execution_log, Complete(job.execution_id, status), summary)
            except Exception as error:
                log.exception("an execution broke off")
                text = f"{type(error).__name__}: {error}"
                self._keep(execution_log, ExecutionError(text, ErrorType.SYSTEM), summary)
                self._keep(execution_log, Complete(job.execution_id, status), summary)
            log.info("execution ended", status=status)

    def _keep(self, execution_log: ExecutionLog, event: Event, summary: str | None) -> None:
        if execution_log.complete:
            return
        seq, line = execution_log.append(event)
        ending = None
        if isinstance(event, Complete):
            ending = Ending(execution_log.execution_id, event.final_status, datetime.now(UTC), summary)
        write = StoredEvent(execution_log.execution_id, seq, event.type, line.decode())
        self._writer.put(execution_log, write, ending)
