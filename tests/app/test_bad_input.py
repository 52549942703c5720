"""Bad input gets a clear error that names the field, and nothing runs."""

import json
from typing import Any

import pytest

from tests.support.backend import BackendProcess

STEP = {"command": "true"}
CALL: dict[str, Any] = {"serverId": 1, "query": "a test", "agent_type": "general", "plan": [STEP]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent_type": "wizard"}, "agent_type"),
        ({"agent_type": None}, "agent_type"),
        ({"query": ""}, "query"),
        ({"query": "  \n"}, "query"),
        ({"query": "x" * 8_001}, "query"),
        ({"query": "a\0b"}, "query"),
        ({"query": "\ud800"}, "query"),
        ({"query": 7}, "query"),
        ({"serverId": "web"}, "serverId"),
        ({"serverId": 0}, "serverId"),
        ({"serverId": True}, "serverId"),
        ({"serverId": 10**30}, "serverId"),
        ({"plan": []}, "plan"),
        ({"plan": [STEP] * 101}, "plan"),
        ({"plan": [{}]}, "command"),
        ({"plan": [{"command": ""}]}, "command"),
        ({"plan": [{"command": " "}]}, "command"),
        ({"plan": [{"command": "x" * 65_537}]}, "command"),
        ({"plan": [{"command": "é" * 32_769}]}, "command"),
        ({"plan": [{"command": "a\0b"}]}, "command"),
        ({"plan": [{"command": "\udfff"}]}, "command"),
        ({"plan": [{"command": ["rm"]}]}, "command"),
        ({"plan": "true"}, "plan"),
        ({"plan": None}, "plan"),
    ],
)
def test_invalid_field(backend: BackendProcess, change: dict[str, Any], field: str) -> None:
    """Each invalid field is answered with 422 that names it, and starts nothing."""
    before = backend.total("aoss_executions_total")
    answer = backend.http.post(
        "/api/chat/execute",
        content=json.dumps(CALL | change),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert field in str(answer.json()["detail"][0]["loc"])
    assert backend.total("aoss_executions_total") == before


def test_largest_command_and_plan_are_accepted(backend: BackendProcess) -> None:
    """A command of exactly 64 KiB and a plan of 100 steps run."""
    command = "true " + "x" * (65_536 - 5)
    assert backend.execute(command)[-1]["final_status"] == "Success"
    events = backend.execute(*["true"] * 100)
    assert [event["type"] for event in events].count("step_result") == 100


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"', b"[" * 100_000, b'{"a":' * 50_000]
)
@pytest.mark.parametrize("path", ["/api/chat/plan", "/api/chat/execute", "/api/servers"])
def test_body_that_is_not_an_object(backend: BackendProcess, path: str, body: bytes) -> None:
    """A body that is not a JSON object gets 400 or 422, never 500."""
    answer = backend.http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_body_too_large(backend: BackendProcess) -> None:
    """A body larger than any useful plan gets 413, with and without a declared length."""

    def pieces() -> Any:
        for _ in range(17):
            yield b" " * 1024 * 1024

    declared = backend.http.post("/api/chat/plan", content=b"".join(pieces()))
    streamed = backend.http.post("/api/chat/plan", content=pieces())
    assert (declared.status_code, streamed.status_code) == (413, 413)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/server/999"),
        ("DELETE", "/api/server/999"),
        ("POST", "/api/server/999/test-connection"),
        ("GET", "/api/chat/history/999"),
        ("GET", f"/api/executions/{'0' * 32}"),
        ("GET", f"/api/executions/{'0' * 32}/events"),
    ],
)
def test_unknown_is_404(backend: BackendProcess, method: str, path: str) -> None:
    """What is not there is answered with 404 that says what was not found."""
    answer = backend.http.request(method, path)
    assert answer.status_code == 404
    assert "999" in answer.json()["detail"] or "0000" in answer.json()["detail"]


def test_unknown_server_is_404(backend: BackendProcess) -> None:
    """Planning for and executing on a server that is not registered is answered with 404."""
    for path in ("/api/chat/plan", "/api/chat/execute"):
        assert backend.http.post(path, json=CALL | {"serverId": 999}).status_code == 404


def test_request_that_no_runbook_answers(backend: BackendProcess) -> None:
    """Such a request gets 422 with the nearest runbooks and the way to configure a model, and is no error."""
    before = backend.total("aoss_execution_errors_total")
    answer = backend.http.post("/api/chat/plan", json=CALL | {"query": "write me a poem about the sea"})
    assert answer.status_code == 422
    assert "AOSS_LLM_BASE_URL" in answer.json()["detail"]
    assert len(answer.json()["nearest"]) >= 1
    assert backend.total("aoss_execution_errors_total") == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"serverTag": "has space"}, "serverTag"),
        ({"serverTag": ""}, "serverTag"),
        ({"serverTag": "x" * 65}, "serverTag"),
        ({"serverTag": "trailing\n"}, "serverTag"),
        ({"sshUsername": ""}, "sshUsername"),
        ({"sshPort": 0}, "sshPort"),
        ({"sshPort": 65_536}, "sshPort"),
        ({"hostKey": "rubbish"}, "hostKey"),
        ({"hostKey": "ssh-ed25519 AAAA"}, "hostKey"),
        ({"sshKeyPath": "../outside"}, "sshKeyPath"),
        ({"sshKeyPath": "/etc/passwd"}, "sshKeyPath"),
        ({"ipAddress": ""}, ""),
    ],
)
def test_invalid_registration(backend: BackendProcess, change: dict[str, Any], field: str) -> None:
    """Each invalid field of a registration is answered with 422 that names it."""
    server = {"serverTag": "web-01", "ipAddress": "127.0.0.1", "sshUsername": "root", "sshPort": 1}
    answer = backend.http.post("/api/servers", json=server | change)
    assert answer.status_code == 422, answer.text
    assert field in str(answer.json()["detail"][0]["loc"])


def test_registration_of_an_unreachable_server(backend: BackendProcess) -> None:
    """A server whose host key cannot be asked for is refused with the way out."""
    server = {"serverTag": "web-01", "ipAddress": "127.0.0.1", "sshUsername": "root", "sshPort": 1}
    answer = backend.http.post("/api/servers", json=server)
    assert answer.status_code == 422
    assert "give hostKey" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 10**9}, {"before": "x"}, {"status": "Odd"}])
def test_invalid_page(backend: BackendProcess, parameters: dict[str, Any]) -> None:
    """A page that cannot be had is answered with 422."""
    assert backend.http.get("/api/executions", params=parameters).status_code == 422
