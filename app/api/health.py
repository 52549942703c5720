"""Whether this worker is alive, and whether it can do its work."""

from fastapi import APIRouter

from app.api.dependencies import BackendOf
from app.api.schemas import ErrorAnswer
from app.errors import ShuttingDownError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": ErrorAnswer}})
async def ready(backend: BackendOf) -> dict[str, str]:
    """Answer 200 while the database is reachable and migrated, and the worker is not shutting down."""
    if backend.supervisor.closing.is_set():
        raise ShuttingDownError("the backend is shutting down")
    await backend.database.ping()
    return {"status": "ready"}
