"""Plan, execute, and the history of a server."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api.dependencies import BackendOf, Before, Limit, ServerIdInPath, target_of
from app.api.events import NDJSON, event_stream
from app.api.schemas import (
    ErrorAnswer,
    ExecuteCall,
    ExecutionState,
    HistoryAnswer,
    LogAnswer,
    PlanAnswer,
    PlanCall,
    PlannedStep,
)
from app.errors import PlannerError
from app.execution.engine import Job
from app.planners.plan import PlanRequest, Step
from app.store.models import Server
from app.store.records import NewExecution
from telemetry.labels import ErrorType

router = APIRouter(prefix="/api/chat", tags=["chat"])


@router.post("/plan", responses={404: {"model": ErrorAnswer}, 502: {"model": ErrorAnswer}})
async def plan(call: PlanCall, backend: BackendOf) -> PlanAnswer:
    """Return the steps that answer a request."""
    server = await backend.servers.get(call.serverId)
    try:
        steps = await backend.planner.plan(_request(call, server))
    except PlannerError:
        backend.pipeline.record_error(ErrorType.PLANNER, call.agent_type)
        raise
    return PlanAnswer(
        plan=[
            PlannedStep(step=number, command=step.command, description=step.description, changes=step.changes)
            for number, step in enumerate(steps, start=1)
        ]
    )


@router.post(
    "/execute",
    response_class=StreamingResponse,
    responses={
        200: {"content": {NDJSON: {}}, "description": "one event a line"},
        404: {"model": ErrorAnswer},
        429: {"model": ErrorAnswer},
        503: {"model": ErrorAnswer},
    },
)
async def execute(call: ExecuteCall, backend: BackendOf) -> StreamingResponse:
    """Start an execution and stream its events; it goes on if the reader goes away."""
    backend.planner.check_model(call.model)
    with backend.supervisor.place() as start:
        server = await backend.servers.get(call.serverId)
        job = Job(
            execution_id=uuid4().hex,
            request=_request(call, server),
            plan=[Step(step.command, step.description, changes=step.changes) for step in call.plan],
            target=target_of(backend, server),
        )
        new = NewExecution(
            id=job.execution_id,
            server_id=server.id,
            agent_type=call.agent_type,
            query=call.query,
            plan=_numbered(call.plan),
            host=backend.host,
            worker=backend.worker,
            started_at=datetime.now(UTC),
        )
        try:
            await backend.executions.add(new)
            start(job)
        except BaseException:
            # The row may be there all the same, and would pass for running as long as this worker lives.
            backend.supervisor.disown(job.execution_id)
            raise
    return event_stream(backend, job.execution_id)


@router.get("/history/{server_id}", responses={404: {"model": ErrorAnswer}})
async def history(
    server_id: ServerIdInPath, backend: BackendOf, limit: Limit = 20, before: Before = None
) -> HistoryAnswer:
    """Return what was run on a server, newest first."""
    await backend.servers.get(server_id)
    entries = await backend.executions.history(server_id, limit=limit, before=before)
    logs = [
        LogAnswer(
            id=entry.execution.id,
            query=entry.execution.query,
            plan=entry.execution.plan,
            status=ExecutionState(entry.execution.status),
            execution_results=list(entry.results),
            agent_summary=entry.execution.agent_summary,
            created_at=entry.execution.started_at,
        )
        for entry in entries
    ]
    return HistoryAnswer(logs=logs, next=logs[-1].id if logs else None)


def _request(call: PlanCall, server: Server) -> PlanRequest:
    return PlanRequest(
        query=call.query,
        agent_type=call.agent_type,
        server_tag=server.tag,
        allow_changes=server.allow_changes,
        model=call.model,
    )


def _numbered(plan: list[PlannedStep]) -> list[dict[str, Any]]:
    return [step.model_dump(exclude={"step"}) | {"step": number} for number, step in enumerate(plan, start=1)]
