"""What a worker does beside its executions: signs of life, cancellations, the dead, old history."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from app.errors import StoreUnavailableError
from app.execution.supervisor import Supervisor
from app.execution.workers import dead_worker
from app.store.executions import Executions

CANCEL_SECONDS = 0.3
HEARTBEAT_SECONDS = 1.0
FORGET_SECONDS = 1.0
DEAD_SECONDS = 1.0
LEASE_CHECK_SECONDS = 5.0
LEASE = timedelta(seconds=60)
PURGE_SECONDS = 3600.0
PURGE_BATCH = 500

log = structlog.get_logger(__name__)


class Housekeeping:
    """Run the duties of a worker, each at its own pace; a store that is away delays them, nothing more."""

    def __init__(
        self,
        executions: Executions,
        supervisor: Supervisor,
        *,
        worker: str,
        workers_directory: Path,
        retention: timedelta,
    ) -> None:
        self._executions = executions
        self._supervisor = supervisor
        self._worker = worker
        self._workers_directory = workers_directory
        self._retention = retention
        self._store_answered = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all duties."""
        duties: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (CANCEL_SECONDS, self._cancel),
            (HEARTBEAT_SECONDS, self._heartbeat),
            (FORGET_SECONDS, self._forget),
            (DEAD_SECONDS, self._settle_the_dead),
            (LEASE_CHECK_SECONDS, self._settle_expired),
            (PURGE_SECONDS, self._purge),
        ]
        self._tasks = [
            asyncio.create_task(_every(seconds, duty), name=duty.__name__) for seconds, duty in duties
        ]

    async def stop(self) -> None:
        """Stop all duties."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cancel(self) -> None:
        if self._supervisor.active:
            for execution_id in await self._executions.cancel_requested(self._worker):
                self._supervisor.cancel(execution_id)

    async def _forget(self) -> None:
        self._supervisor.forget_committed()

    async def _heartbeat(self) -> None:
        if self._supervisor.active:
            await self._executions.heartbeat(self._worker, datetime.now(UTC))

    async def _settle_the_dead(self) -> None:
        while True:
            with dead_worker(self._workers_directory) as worker:
                if worker is None:
                    return
                interrupted = await self._executions.interrupt_worker(worker)
            log.warning("a worker died", worker=worker, interrupted=[each.id for each in interrupted])

    async def _settle_expired(self) -> None:
        # After an outage of the store every sign of life is old: the living get time for a new one first.
        if not self._store_answered:
            await self._executions.cancel_requested(self._worker)
            self._store_answered = True
            return
        self._store_answered = False
        before = datetime.now(UTC) - LEASE
        interrupted = await self._executions.interrupt_expired(before, worker=self._worker)
        self._store_answered = True
        if interrupted:
            log.warning("executions gave no sign of life", interrupted=interrupted)

    async def _purge(self) -> None:
        before = datetime.now(UTC) - self._retention
        purged = PURGE_BATCH
        while purged == PURGE_BATCH:
            purged = await self._executions.purge(before, PURGE_BATCH)


async def _every(seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
    reported = ""
    while True:
        try:
            await duty()
            reported = ""
        except StoreUnavailableError as error:
            if str(error) != reported:
                reported = str(error)
                log.warning("waiting for the store", duty=duty.__name__, reason=reported)
        except Exception:
            log.exception("a duty failed", duty=duty.__name__)
        await asyncio.sleep(seconds)
