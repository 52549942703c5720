"""The stream of an execution's events."""

from fastapi.responses import StreamingResponse

from app.backend import Backend

NDJSON = "application/x-ndjson"


def event_stream(backend: Backend, execution_id: str, after: int = 0) -> StreamingResponse:
    """Return a response that streams the events after a `seq`, those to come included."""
    return StreamingResponse(
        backend.follower.lines(execution_id, after),
        media_type=NDJSON,
        headers={"X-Execution-Id": execution_id},
    )
