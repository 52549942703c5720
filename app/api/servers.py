"""Servers: register, list, show, remove, test the connection."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError

from app.api.dependencies import BackendOf, Limit, ServerIdInPath, target_of
from app.api.schemas import (
    MAX_ID,
    ConnectionAnswer,
    ErrorAnswer,
    ServerAnswer,
    ServerCall,
    ServersAnswer,
)
from app.backend import Backend
from app.errors import SessionError
from app.runners.base import Outcome
from app.runners.host_keys import fingerprint, normalise_host_key, scan_host_key
from app.store.models import Server
from app.store.servers import NewServer

CONNECTION_TEST_SECONDS = 15.0

router = APIRouter(prefix="/api", tags=["servers"])

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer}}


@router.post("/servers", status_code=201, responses={409: {"model": ErrorAnswer}})
async def register(call: ServerCall, backend: BackendOf) -> ServerAnswer:
    """Register a server; without a host key, ask the server for its own and pin it."""
    address = (call.ip_address or call.hostname).strip()
    server = await backend.servers.add(
        NewServer(
            tag=call.server_tag,
            runner="ssh",
            ip_address=call.ip_address.strip(),
            hostname=call.hostname.strip(),
            ssh_port=call.ssh_port,
            ssh_username=call.ssh_username,
            ssh_key_path=_key_path(backend, call.ssh_key_path),
            host_key=await _host_key(call.host_key, address, call.ssh_port),
            allow_changes=call.allow_changes,
        )
    )
    backend.pipeline.instruments.announce_server(server.tag)
    return _answer(server)


@router.get("/servers")
async def servers(
    backend: BackendOf, limit: Limit = 100, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0
) -> ServersAnswer:
    """Return the registered servers in the order of their ids."""
    rows = await backend.servers.list(limit=limit, after=after)
    return ServersAnswer(
        servers=[_answer(row) for row in rows], next=rows[-1].id if len(rows) == limit else None
    )


@router.get("/server/{server_id}", responses=NOT_FOUND)
async def server(server_id: ServerIdInPath, backend: BackendOf) -> ServerAnswer:
    """Return one server."""
    return _answer(await backend.servers.get(server_id))


@router.delete("/server/{server_id}", status_code=204, responses={**NOT_FOUND, 409: {"model": ErrorAnswer}})
async def remove(server_id: ServerIdInPath, backend: BackendOf) -> None:
    """Remove a server on which nothing runs; what was run on it stays in the list of executions."""
    await backend.servers.delete(server_id)


@router.post("/server/{server_id}/test-connection", responses=NOT_FOUND)
async def test_connection(server_id: ServerIdInPath, backend: BackendOf) -> ConnectionAnswer:
    """Open a session, run `true` and say whether that worked."""
    row = await backend.servers.get(server_id)
    runner = backend.runners.get(row.runner)
    if runner is None:
        return ConnectionAnswer(status="Offline", message=f"the {row.runner} runner is switched off here")
    try:
        session = await runner.connect(target_of(backend, row))
    except SessionError as error:
        return ConnectionAnswer(status="Offline", message=str(error))
    try:
        result = await session.run("true", time_limit=CONNECTION_TEST_SECONDS, stop=asyncio.Event())
    finally:
        await session.close()
    if result.outcome is Outcome.EXITED and result.exit_code == 0:
        return ConnectionAnswer(status="Online", message=f"{row.tag} answers and runs commands")
    return ConnectionAnswer(
        status="Offline", message=f"a test command failed ({result.outcome}): {result.stderr[-300:]}"
    )


def _key_path(backend: Backend, given: str | None) -> str | None:
    """Return the path below AOSS_SSH_KEY_DIR, or answer 422 for one that leads elsewhere."""
    if not given:
        return None
    folder = backend.settings.ssh_key_dir.resolve()
    path = (folder / given).resolve()
    if not path.is_relative_to(folder) or path == folder:
        raise _refused("sshKeyPath", "must lie under AOSS_SSH_KEY_DIR")
    return str(path.relative_to(folder))


async def _host_key(given: str | None, address: str, port: int) -> str:
    if given:
        try:
            return normalise_host_key(given)
        except ValueError as error:
            raise _refused("hostKey", str(error)) from error
    try:
        key, _ = await scan_host_key(address, port)
    except SessionError as error:
        raise _refused(
            "hostKey", f"the server's key could not be asked for: {error}; give hostKey"
        ) from error
    return key


def _refused(field: str, why: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": why}])


def _answer(row: Server) -> ServerAnswer:
    return ServerAnswer(
        id=row.id,
        server_tag=row.tag,
        runner=row.runner,
        ip_address=row.ip_address,
        hostname=row.hostname,
        ssh_username=row.ssh_username,
        ssh_port=row.ssh_port,
        ssh_key_path=row.ssh_key_path,
        host_key=row.host_key,
        host_key_fingerprint=fingerprint(row.host_key) if row.host_key else None,
        allow_changes=row.allow_changes,
        created_at=row.created_at,
    )
