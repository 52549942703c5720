"""Read an execution's events from any worker: from the owner's memory, else from the store."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress

import structlog

from app.errors import StoreUnavailableError, UnknownExecutionError
from app.execution.supervisor import Supervisor
from app.store.executions import Executions
from app.store.models import RUNNING

POLL_SECONDS = 0.25
PAGE_EVENTS = 50

log = structlog.get_logger(__name__)


class Follower:
    """Follow executions, wherever they run."""

    def __init__(self, supervisor: Supervisor, executions: Executions) -> None:
        self._supervisor = supervisor
        self._executions = executions

    async def lines(self, execution_id: str, after: int) -> AsyncGenerator[bytes]:
        """Yield the NDJSON lines after `after`, those to come included, until the execution has ended.

        An execution of this worker is followed to its end even during shutdown, which bounds it; one of
        another worker only until this worker shuts down, because its stream would hold that up.
        """
        seq = after
        while True:
            lines, ended, wake = await self._next(execution_id, seq)
            for line in lines:
                seq += 1
                yield line + b"\n"
            if ended and not lines:
                return
            if not lines and await self._pause(wake):
                return

    async def _next(self, execution_id: str, seq: int) -> tuple[list[bytes], bool, asyncio.Event | None]:
        """Return the next lines, whether the execution has no more, and what announces more."""
        execution_log = self._supervisor.log_of(execution_id)
        if execution_log:
            wake = execution_log.changed
            lines = execution_log.after(seq)
            if lines is not None:
                ended = execution_log.complete and seq >= execution_log.appended
                return lines, ended, wake
        try:
            return *await self._stored(execution_id, seq), None
        except StoreUnavailableError as error:
            log.warning("following an execution waits for the store", reason=str(error))
            return [], False, None

    async def _stored(self, execution_id: str, seq: int) -> tuple[list[bytes], bool]:
        # The row first: an ending is committed together with its last event, so that a row which has ended
        # promises that the events read after it are all there are.
        try:
            row = await self._executions.get(execution_id)
        except UnknownExecutionError:
            return [], True
        events = await self._executions.events(execution_id, seq, PAGE_EVENTS)
        lines = [event.line.encode() for event in events]
        ended = row.status != RUNNING
        if ended and len(events) < PAGE_EVENTS and not (events and events[-1].type == "complete"):
            last = events[-1].seq if events else seq
            if await self._lacks_ending(execution_id, last):
                ending = {
                    "type": "complete",
                    "execution_id": execution_id,
                    "seq": last + 1,
                    "log_id": execution_id,
                    "final_status": row.status,
                }
                lines.append(json.dumps(ending, separators=(",", ":")).encode())
        return lines, ended

    async def _lacks_ending(self, execution_id: str, last: int) -> bool:
        """Return whether the owner died before its last event, `complete`, was stored.

        A reader that asks for events after the last one must not be told of a second ending.
        """
        if last == 0:
            return True
        stored = await self._executions.events(execution_id, last - 1, 1)
        return bool(stored) and stored[0].type != "complete"

    async def _pause(self, wake: asyncio.Event | None) -> bool:
        """Wait for more; return whether to give up because the worker shuts down."""
        if wake:
            # Bounded, because the log is forgotten once the store has all of it.
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), 1.0)
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._supervisor.closing.wait(), POLL_SECONDS)
        return self._supervisor.closing.is_set()
