"""Tests of the registered servers."""

from datetime import UTC, datetime, timedelta

import pytest

from app.errors import DuplicateTagError, ServerBusyError, UnknownServerError
from app.store.executions import Executions
from app.store.records import Ending
from app.store.servers import NewServer, Servers
from telemetry.labels import ExecutionStatus
from tests.app.store.conftest import START, Records, new_server


async def test_a_registered_server_comes_back_as_given(servers: Servers) -> None:
    """Every field is kept, and the time of registration carries its zone."""
    new = NewServer(
        tag="db.prod-1",
        runner="ssh",
        ip_address="192.0.2.7",
        hostname="db",
        ssh_port=2222,
        ssh_username="ops",
        ssh_key_path="keys/db",
        host_key="ssh-ed25519 AAAA",
        allow_changes=True,
    )
    added = await servers.add(new)
    server = await servers.get(added.id)
    assert new == NewServer(
        tag=server.tag,
        runner=server.runner,
        ip_address=server.ip_address,
        hostname=server.hostname,
        ssh_port=server.ssh_port,
        ssh_username=server.ssh_username,
        ssh_key_path=server.ssh_key_path,
        host_key=server.host_key,
        allow_changes=server.allow_changes,
    )
    assert timedelta(0) == server.created_at.utcoffset()
    assert abs(datetime.now(UTC) - server.created_at) < timedelta(minutes=1)


async def test_a_tag_is_taken_once(servers: Servers) -> None:
    """A second server with the same tag is refused, and the first stays."""
    first = await servers.add(new_server("web-1"))
    with pytest.raises(DuplicateTagError, match="'web-1'"):
        await servers.add(new_server("web-1"))
    assert [first.id] == [server.id for server in await servers.list(10)]


async def test_servers_are_listed_in_pages(servers: Servers) -> None:
    """Each page goes on after the last id of the page before."""
    ids = [(await servers.add(new_server(f"web-{number}"))).id for number in range(5)]
    pages = []
    after = 0
    while page := await servers.list(2, after):
        pages.append([server.id for server in page])
        after = page[-1].id
    assert [ids[:2], ids[2:4], ids[4:]] == pages


async def test_tags_are_sorted(servers: Servers) -> None:
    """All tags are returned, whatever the order of registration."""
    for tag in ("b", "c", "a"):
        await servers.add(new_server(tag))
    assert list(await servers.tags()) == ["a", "b", "c"]


@pytest.mark.parametrize("server_id", [1, 0, -1, 2**31, 2**63, 10**30])
async def test_an_unknown_server_is_an_error_whatever_its_id(servers: Servers, server_id: int) -> None:
    """No number that an address may hold makes the query itself fail."""
    with pytest.raises(UnknownServerError):
        await servers.get(server_id)
    with pytest.raises(UnknownServerError):
        await servers.delete(server_id)
    assert list(await servers.list(10, after=server_id)) == []


async def test_a_server_is_busy_while_an_execution_runs(records: Records) -> None:
    """It cannot be deleted before the execution has ended; then the execution stays without it."""
    server = await records.server("web-1")
    execution = await records.execution(server)
    with pytest.raises(ServerBusyError):
        await records.servers.delete(server.id)
    await records.executions.append([], [Ending(execution.id, ExecutionStatus.SUCCESS, START)])
    await records.servers.delete(server.id)
    left = await records.executions.get(execution.id)
    assert (left.server_id, left.server_tag) == (None, "web-1")
    with pytest.raises(UnknownServerError):
        await records.servers.get(server.id)


async def test_an_id_is_never_given_twice(records: Records, executions: Executions) -> None:
    """A server registered after a deletion is not taken for the deleted one."""
    first = await records.server("web-1")
    await records.servers.delete(first.id)
    second = await records.server("web-1")
    assert first.id < second.id
    assert list(await executions.history(first.id, 10)) == []
