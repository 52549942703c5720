"""Executions: list them, attach to one, cancel one."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from app.api.dependencies import BackendOf, Before, Limit
from app.api.events import NDJSON, event_stream
from app.api.schemas import (
    MAX_ID,
    CancelAnswer,
    ErrorAnswer,
    ExecutionAnswer,
    ExecutionId,
    ExecutionsAnswer,
    ExecutionState,
)
from app.errors import UnknownExecutionError
from app.store.models import Execution
from app.store.records import CancelRequest
from telemetry.labels import AgentType

router = APIRouter(prefix="/api/executions", tags=["executions"])

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer}}


@router.get("")
async def executions(
    backend: BackendOf,
    limit: Limit = 50,
    before: Before = None,
    server_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    status: ExecutionState | None = None,
) -> ExecutionsAnswer:
    """Return executions, newest first."""
    rows = await backend.executions.list(limit=limit, before=before, server_id=server_id, status=status)
    return ExecutionsAnswer(
        executions=[_answer(row) for row in rows], next=rows[-1].id if len(rows) == limit else None
    )


@router.get("/{execution_id}", responses=NOT_FOUND)
async def execution(execution_id: ExecutionId, backend: BackendOf) -> ExecutionAnswer:
    """Return one execution without its events."""
    return _answer(await backend.executions.get(execution_id))


@router.get(
    "/{execution_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}, "description": "one event a line"}, **NOT_FOUND},
)
async def events(
    execution_id: ExecutionId,
    backend: BackendOf,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> StreamingResponse:
    """Stream an execution's events after the given `seq`, those to come included."""
    if backend.supervisor.log_of(execution_id) is None:
        await backend.executions.get(execution_id)
    return event_stream(backend, execution_id, after)


@router.post("/{execution_id}/cancel", status_code=202, responses={**NOT_FOUND, 409: {"model": ErrorAnswer}})
async def cancel(execution_id: ExecutionId, backend: BackendOf) -> CancelAnswer:
    """Stop an execution, whichever worker runs it."""
    if backend.supervisor.cancel(execution_id):
        return CancelAnswer(execution_id=execution_id)
    execution_log = backend.supervisor.log_of(execution_id)
    if execution_log and execution_log.complete:
        # Its end may not be stored yet, so the store is not asked.
        raise _ended(execution_id)
    match await backend.executions.request_cancel(execution_id):
        case CancelRequest.UNKNOWN:
            raise UnknownExecutionError(f"there is no execution {execution_id}")
        case CancelRequest.ENDED:
            raise _ended(execution_id)
        case CancelRequest.REQUESTED:
            return CancelAnswer(execution_id=execution_id)


def _ended(execution_id: str) -> HTTPException:
    return HTTPException(409, f"execution {execution_id} has ended")


def _answer(row: Execution) -> ExecutionAnswer:
    return ExecutionAnswer(
        id=row.id,
        server_id=row.server_id,
        server_tag=row.server_tag,
        agent_type=AgentType(row.agent_type),
        query=row.query,
        plan=row.plan,
        status=ExecutionState(row.status),
        created_at=row.started_at,
        finished_at=row.finished_at,
    )
