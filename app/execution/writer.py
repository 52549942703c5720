"""The one writer of a worker: it commits the events of all its executions in batches."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import structlog

from app.errors import StoreUnavailableError
from app.execution.log import ExecutionLog
from app.store.executions import Executions
from app.store.records import Ending, StoredEvent

BATCH_EVENTS = 512
BATCH_BYTES = 8 * 1024 * 1024
PUBLISH_ANYWAY_SECONDS = 1.0
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    log: ExecutionLog
    event: StoredEvent
    ending: Ending | None


class EventWriter:
    """Write events in the order they came, and show them to readers once the store has them.

    While the store cannot be reached, events are kept, shown to readers all the same, and written later.
    """

    def __init__(self, executions: Executions) -> None:
        self._executions = executions
        self._pending: deque[_Entry] = deque()
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._store_lost = False
        self._batch_events = BATCH_EVENTS
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.create_task(self._run(), name="event-writer")

    def put(self, execution_log: ExecutionLog, event: StoredEvent, ending: Ending | None) -> None:
        """Queue one event, with the execution's ending if it is the last."""
        self._pending.append(_Entry(execution_log, event, ending))
        self._idle.clear()
        self._wanted.set()
        if self._store_lost:
            execution_log.publish(event.seq)

    async def close(self, limit_seconds: float) -> bool:
        """Write what is pending for at most `limit_seconds`; return whether the store has everything."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), limit_seconds)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._pending:
            log.error(
                "events lost: the store could not be reached before shutdown", events=len(self._pending)
            )
        return not self._pending

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            batch = self._next_batch()
            if await self._write(batch):
                failures = 0
                continue
            pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            failures += 1
            await asyncio.sleep(pause)

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        for entry in self._pending:
            size += len(entry.event.line)
            if batch and (len(batch) >= self._batch_events or size > BATCH_BYTES):
                break
            batch.append(entry)
        return batch

    async def _write(self, batch: list[_Entry]) -> bool:
        writing = asyncio.ensure_future(
            self._executions.append(
                [entry.event for entry in batch], [entry.ending for entry in batch if entry.ending]
            )
        )
        try:
            await asyncio.wait({writing}, timeout=PUBLISH_ANYWAY_SECONDS)
            if not writing.done():
                self._show_pending("the store is slow")
            await writing
        except StoreUnavailableError as error:
            self._show_pending(str(error))
            return False
        except Exception:
            # Only a defect leads here. One event must not hold up all others for ever: find and drop it.
            self._batch_events = 1
            if len(batch) > 1:
                return True
            lost = batch[0].event
            log.exception("an event is lost", execution_id=lost.execution_id, seq=lost.seq, type=lost.type)
        finally:
            writing.cancel()
        if self._store_lost:
            self._store_lost = False
            log.info("the store is back", pending=len(self._pending))
        for _ in batch:
            self._pending.popleft()
        for entry in batch:
            entry.log.commit(entry.event.seq)
        if not self._pending:
            self._batch_events = BATCH_EVENTS
            self._wanted.clear()
            self._idle.set()
        return True

    def _show_pending(self, reason: str) -> None:
        if not self._store_lost:
            self._store_lost = True
            log.warning("events are kept in memory until the store is back", reason=reason)
        for entry in self._pending:
            entry.log.publish(entry.event.seq)
