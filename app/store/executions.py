"""The executions, as those who start, follow and list them see them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import UnknownExecutionError, UnknownServerError
from app.store.database import Database
from app.store.models import RUNNING, Execution, ExecutionEvent, Server
from app.store.records import CancelRequest, Ending, HistoryEntry, NewExecution, StoredEvent
from telemetry.labels import ExecutionStatus

HISTORY_BYTES = 16 * 1024 * 1024

# Not ended, or ended only by another host's guess. The first condition adds nothing but the use of
# the index on (worker, status).
_LEFT_TO_OWNER: ColumnElement[bool] = and_(
    Execution.status.in_((RUNNING, ExecutionStatus.INTERRUPTED)),
    or_(Execution.status == RUNNING, Execution.interrupted_by_lease),
)


class Executions:
    """Record executions and read them back; every call may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = postgresql.insert if database.dialect == "postgresql" else sqlite.insert

    async def add(self, new: NewExecution) -> Execution:
        """Record an execution as running; raises UnknownServerError if its server has gone.

        After StoreUnavailableError it may have been recorded all the same: an Ending undoes that.
        """
        # The lock keeps the server from being deleted between here and the commit.
        lock = select(Server.tag).where(Server.id == new.server_id).with_for_update(read=True, key_share=True)
        async with self._database.transaction() as session:
            tag = await session.scalar(lock)
            if tag is None:
                raise UnknownServerError(f"there is no server {new.server_id}")
            execution = Execution(
                id=new.id,
                server_id=new.server_id,
                server_tag=tag,
                agent_type=new.agent_type,
                query=new.query,
                plan=[dict(step) for step in new.plan],
                status=RUNNING,
                host=new.host,
                worker=new.worker,
                heartbeat_at=new.started_at,
                started_at=new.started_at,
                finished_at=None,
                cancel_requested=False,
                interrupted_by_lease=False,
                agent_summary=None,
            )
            session.add(execution)
        return execution

    async def get(self, execution_id: str) -> Execution:
        """Return an execution; raises UnknownExecutionError."""
        async with self._database.snapshot() as session:
            execution = await session.scalar(select(Execution).where(Execution.id == execution_id))
        if execution is None:
            raise UnknownExecutionError(f"there is no execution {execution_id}")
        return execution

    async def list(
        self,
        limit: int,
        before: str | None = None,
        *,
        server_id: int | None = None,
        status: str | None = None,
    ) -> Sequence[Execution]:
        """Return executions, newest first; `before` is the last id of the page before.

        `status` is RUNNING or an ExecutionStatus. Nothing comes before an execution that is not stored.
        """
        query = _page(limit, before)
        if server_id is not None:
            query = query.where(Execution.server_id == server_id)
        if status is not None:
            query = query.where(Execution.status == status)
        async with self._database.snapshot() as session:
            return (await session.scalars(query)).all()

    async def history(self, server_id: int, limit: int, before: str | None = None) -> Sequence[HistoryEntry]:
        """Return a server's executions with their results, newest first; `before` as in `list`.

        Results may hold megabytes of output: the page ends early, after at least one execution, where they
        would exceed HISTORY_BYTES. It is empty only where nothing is left.
        """
        async with self._database.snapshot() as session:
            page = _page(limit, before).where(Execution.server_id == server_id)
            executions = await _within_budget(session, (await session.scalars(page)).all())
            if not executions:
                return []
            lines = await session.execute(
                select(ExecutionEvent.execution_id, ExecutionEvent.line)
                .where(ExecutionEvent.execution_id.in_([execution.id for execution in executions]))
                .where(ExecutionEvent.type == "step_result")
                .order_by(ExecutionEvent.execution_id, ExecutionEvent.seq)
            )
            results: dict[str, list[dict[str, Any]]] = {execution.id: [] for execution in executions}
            for execution_id, line in lines:
                results[execution_id].append(json.loads(line)["result"])
        return [HistoryEntry(execution, results[execution.id]) for execution in executions]

    async def events(self, execution_id: str, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return the events of an execution in order, from the first whose `seq` is above `after`."""
        query = (
            select(ExecutionEvent.execution_id, ExecutionEvent.seq, ExecutionEvent.type, ExecutionEvent.line)
            .where(ExecutionEvent.execution_id == execution_id, ExecutionEvent.seq > after)
            .order_by(ExecutionEvent.seq)
            .limit(limit)
        )
        async with self._database.snapshot() as session:
            return [StoredEvent(*row) for row in await session.execute(query)]

    async def append(self, events: Sequence[StoredEvent], endings: Sequence[Ending] = ()) -> None:
        """Store events and endings of many executions in one transaction, as their owner.

        It may be repeated: what is stored already stays as it is, and what belongs to an execution that is
        no longer stored is dropped. An ending counts for an execution that runs or was given up by lease.
        """
        ids = {event.execution_id for event in events} | {ending.execution_id for ending in endings}
        if not ids:
            return
        # This also locks the rows, so that none is purged before its events are in.
        touch = (
            update(Execution)
            .where(Execution.id.in_(sorted(ids)))
            .values(heartbeat_at=datetime.now(UTC))
            .returning(Execution.id)
        )
        async with self._database.transaction() as session:
            connection = await session.connection()
            known = set((await connection.scalars(touch)).all())
            rows = [asdict(event) for event in events if event.execution_id in known]
            if rows:
                await connection.execute(self._insert(ExecutionEvent).on_conflict_do_nothing(), rows)
            for ending in endings:
                await connection.execute(
                    update(Execution)
                    .where(Execution.id == ending.execution_id, _LEFT_TO_OWNER)
                    .values(
                        status=ending.status,
                        finished_at=ending.finished_at,
                        agent_summary=ending.agent_summary,
                        interrupted_by_lease=False,
                    )
                )

    async def request_cancel(self, execution_id: str) -> CancelRequest:
        """Ask the owner of an execution to stop it; asking again changes nothing."""
        request = (
            update(Execution)
            .where(Execution.id == execution_id, Execution.status == RUNNING)
            .values(cancel_requested=True)
            .returning(Execution.id)
        )
        async with self._database.transaction() as session:
            connection = await session.connection()
            if await connection.scalar(request):
                return CancelRequest.REQUESTED
            stored = await connection.scalar(select(Execution.id).where(Execution.id == execution_id))
        return CancelRequest.ENDED if stored else CancelRequest.UNKNOWN

    async def cancel_requested(self, worker: str) -> Sequence[str]:
        """Return the ids of the worker's executions that someone asked to stop."""
        query = select(Execution.id).where(
            Execution.worker == worker, _LEFT_TO_OWNER, Execution.cancel_requested
        )
        async with self._database.snapshot() as session:
            return (await session.scalars(query)).all()

    async def heartbeat(self, worker: str, at: datetime) -> None:
        """Record a sign of life of the worker for all its executions that have not ended."""
        beat = update(Execution).where(Execution.worker == worker, _LEFT_TO_OWNER).values(heartbeat_at=at)
        async with self._database.transaction() as session:
            await (await session.connection()).execute(beat)

    async def interrupt_worker(self, worker: str) -> Sequence[Execution]:
        """Mark what a dead worker left as Interrupted at its last sign of life, and return it.

        Of several callers one gets each execution, so that it can be counted once.
        """
        interrupt = (
            update(Execution)
            .where(Execution.worker == worker, _LEFT_TO_OWNER)
            .values(
                status=ExecutionStatus.INTERRUPTED,
                finished_at=Execution.heartbeat_at,
                interrupted_by_lease=False,
            )
            .returning(Execution)
            .execution_options(synchronize_session=False)
        )
        async with self._database.transaction() as session:
            return (await session.scalars(interrupt)).all()

    async def interrupt_expired(self, before: datetime, *, worker: str) -> Sequence[str]:
        """Give up other workers' executions without a sign of life since `before`, and return their ids.

        Their owner may be alive, and may still end them.
        """
        interrupt = (
            update(Execution)
            .where(Execution.status == RUNNING, Execution.heartbeat_at < before, Execution.worker != worker)
            .values(
                status=ExecutionStatus.INTERRUPTED,
                finished_at=Execution.heartbeat_at,
                interrupted_by_lease=True,
            )
            .returning(Execution.id)
        )
        async with self._database.transaction() as session:
            return (await (await session.connection()).scalars(interrupt)).all()

    async def purge(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` executions that ended before a moment, with their events, and count them."""
        old = (
            select(Execution.id)
            .where(Execution.status != RUNNING, Execution.finished_at < before)
            .order_by(Execution.finished_at)
            .limit(limit)
        )
        async with self._database.transaction() as session:
            connection = await session.connection()
            purged = await connection.scalars(
                delete(Execution).where(Execution.id.in_(old)).returning(Execution.id)
            )
            return len(purged.all())


async def _within_budget(session: AsyncSession, executions: Sequence[Execution]) -> Sequence[Execution]:
    sizes = await session.execute(
        select(ExecutionEvent.execution_id, func.sum(func.length(ExecutionEvent.line)))
        .where(ExecutionEvent.execution_id.in_([execution.id for execution in executions]))
        .where(ExecutionEvent.type == "step_result")
        .group_by(ExecutionEvent.execution_id)
    )
    size_of = {execution_id: int(size) for execution_id, size in sizes}
    total = 0
    for count, execution in enumerate(executions):
        total += size_of.get(execution.id, 0)
        if count and total > HISTORY_BYTES:
            return executions[:count]
    return executions


def _page(limit: int, before: str | None) -> Select[Execution]:
    # By id where the times are equal, so that no execution is shown twice or left out between pages.
    query = select(Execution).order_by(Execution.started_at.desc(), Execution.id.desc()).limit(limit)
    if before is None:
        return query
    last = select(Execution.started_at).where(Execution.id == before).scalar_subquery()
    return query.where(tuple_(Execution.started_at, Execution.id) < tuple_(last, literal(before)))
