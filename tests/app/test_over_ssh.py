"""Servers over SSH as a client sees them, on a real sshd."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.processes import sleeping, wait_until_gone
from tests.support.sshd import USERS, RunningSshd, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSshd]:
    """Return an sshd for the tests of this file."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, sshd: RunningSshd) -> Iterator[BackendProcess]:
    """Return a backend whose keys are those of the sshd."""
    environment = {"AOSS_SSH_KEY_DIR": str(sshd.key_path.parent)}
    with running_backend(tmp_path_factory.mktemp("backend") / "data", environment) as running:
        yield running


def registration(sshd: RunningSshd, tag: str, user: str = "plain") -> dict[str, Any]:
    """Return the body that registers the sshd."""
    return {
        "serverTag": tag,
        "ipAddress": sshd.host,
        "sshPort": sshd.port,
        "sshUsername": sshd.users[user],
        "sshKeyPath": sshd.key_path.name,
    }


def register(backend: BackendProcess, sshd: RunningSshd, tag: str, user: str = "plain") -> dict[str, Any]:
    """Register the sshd and return the answer."""
    answer = backend.http.post("/api/servers", json=registration(sshd, tag, user))
    assert answer.status_code == 201, answer.text
    server: dict[str, Any] = answer.json()
    return server


@pytest.mark.parametrize("user", USERS)
def test_register_test_and_execute(backend: BackendProcess, sshd: RunningSshd, user: str) -> None:
    """A server is registered with its key pinned, is online, runs steps, and is counted under its tag."""
    tag = f"web-{user}"
    server = register(backend, sshd, tag, user)
    assert server["hostKey"].split()[:2] == sshd.host_key_line.split()[:2]
    assert server["hostKeyFingerprint"].startswith("SHA256:")
    assert backend.total("aoss_executions_total", server_tag=tag) == 0
    known = {
        dict(labels).get("server_tag")
        for name, labels in backend.samples()
        if name == "aoss_executions_total"
    }
    assert tag in known, "the series exists before its first event"
    online = backend.http.post(f"/api/server/{server['id']}/test-connection").json()
    assert online["status"] == "Online"
    events = backend.execute("id -un", "echo $SSH_CONNECTION", "echo $SSH_CONNECTION", serverId=server["id"])
    results = [event["result"] for event in events if event["type"] == "step_result"]
    assert results[0]["stdout"] == f"{sshd.users[user]}\n"
    assert results[1]["stdout"] == results[2]["stdout"], "one connection serves the whole execution"
    assert events[-1]["final_status"] == "Success"
    assert backend.total("aoss_executions_completed_total", server_tag=tag, status="Success") == 1
    removed = backend.http.delete(f"/api/server/{server['id']}")
    assert removed.status_code == 204
    assert backend.http.get(f"/api/server/{server['id']}").status_code == 404
    assert backend.status(events[-1]["log_id"]) == "Success"


def test_tag_is_unique(backend: BackendProcess, sshd: RunningSshd) -> None:
    """A tag is given once."""
    register(backend, sshd, "taken")
    again = backend.http.post("/api/servers", json=registration(sshd, "taken"))
    assert again.status_code == 409
    assert "taken" in again.json()["detail"]


@pytest.mark.parametrize("user", USERS)
def test_cancel_on_the_server(backend: BackendProcess, sshd: RunningSshd, user: str) -> None:
    """A cancel ends the command on the server with its pipelines, background jobs and sessions."""
    marker = f"4713.{USERS.index(user)}1"
    server = register(backend, sshd, f"cancel-{user}", user)
    command = f"setsid sleep {marker} & sleep {marker} | sleep {marker}"
    with backend.execution(command, serverId=server["id"]) as (execution_id, stream):
        next(stream)
        wait_for(lambda: sleeping(marker) >= 3)
        backend.http.post(f"/api/executions/{execution_id}/cancel")
        events = list(stream)
    assert events[-1]["final_status"] == "Cancelled"
    assert wait_until_gone(marker) == {}


@pytest.mark.parametrize("user", USERS)
def test_killed_worker_leaves_nothing_on_the_server(tmp_path: Path, sshd: RunningSshd, user: str) -> None:
    """A worker that is killed leaves no process of its commands on the server."""
    marker = f"4713.{USERS.index(user)}2"
    environment = {"AOSS_SSH_KEY_DIR": str(sshd.key_path.parent)}
    with running_backend(tmp_path / "data", environment) as victim:
        server = register(victim, sshd, "web-01", user)
        command = f"setsid sleep {marker} & sleep {marker} | sleep {marker}"
        with victim.execution(command, serverId=server["id"]) as (_, stream):
            next(stream)
            wait_for(lambda: sleeping(marker) >= 3)
            victim.process.send_signal(signal.SIGKILL)
        assert wait_until_gone(marker, 10) == {}


def test_changed_host_key(tmp_path: Path) -> None:
    """A server that shows another key than the pinned one is a connection error that says so."""
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd") as sshd:
        environment = {"AOSS_SSH_KEY_DIR": str(sshd.key_path.parent)}
        with running_backend(tmp_path / "data", environment) as backend:
            server = register(backend, sshd, "web-01")
            sshd.stop()
            sshd.new_host_key()
            sshd.start()
            offline = backend.http.post(f"/api/server/{server['id']}/test-connection").json()
            assert offline["status"] == "Offline"
            assert "host key" in offline["message"]
            events = backend.execute("echo never", serverId=server["id"])
            assert events[1]["result"]["error_type"] == "connection_error"
            assert "host key" in events[1]["result"]["stderr"]
            assert events[-1]["final_status"] == "Failed"
            assert backend.total("aoss_execution_errors_total", error_type="connection_error") == 1


def test_refused_key_and_lost_server(tmp_path: Path) -> None:
    """A refused key is an authentication error, and a server that went away a connection error."""
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd") as sshd:
        other = sshd.key_path.with_name("other_key")
        sshd.make_key(other)
        environment = {"AOSS_SSH_KEY_DIR": str(sshd.key_path.parent)}
        with running_backend(tmp_path / "data", environment) as backend:
            body = registration(sshd, "refused") | {"sshKeyPath": other.name}
            refused = backend.http.post("/api/servers", json=body).json()
            events = backend.execute("echo never", serverId=refused["id"])
            assert events[1]["result"]["error_type"] == "authentication_error"
            server = register(backend, sshd, "web-01")
            sshd.stop()
            started = time.monotonic()
            events = backend.execute("echo never", serverId=server["id"])
            assert time.monotonic() - started < 20
            assert events[1]["result"]["error_type"] == "connection_error"
            assert str(sshd.port) in events[1]["result"]["stderr"]
            assert backend.total("aoss_execution_errors_total", error_type="authentication_error") == 1
            assert backend.total("aoss_execution_errors_total", error_type="connection_error") == 1
