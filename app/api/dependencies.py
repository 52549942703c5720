"""What the routers need of the application."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from app.api.schemas import MAX_ID, ExecutionId
from app.backend import Backend
from app.runners.base import Target
from app.store.models import Server


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


BackendOf = Annotated[Backend, Depends(_backend)]
ServerIdInPath = Annotated[int, Path(ge=1, le=MAX_ID)]
Limit = Annotated[int, Query(ge=1, le=200)]
Before = Annotated[ExecutionId | None, Query()]


def target_of(backend: Backend, server: Server) -> Target:
    """Return what a runner needs to know of a server."""
    return Target(
        server_id=server.id,
        tag=server.tag,
        runner=server.runner,
        host=server.ip_address or server.hostname,
        port=server.ssh_port,
        username=server.ssh_username,
        key_path=backend.settings.ssh_key_dir / server.ssh_key_path if server.ssh_key_path else None,
        host_key=server.host_key,
        allow_changes=server.allow_changes,
    )
