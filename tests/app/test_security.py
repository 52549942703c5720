"""Who may call: loopback, Host, Origin, keys, and what errors give away."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.security import host_name, is_loopback
from app.settings import Settings
from telemetry.settings import TelemetrySettings
from tests.support.backend import BackendProcess, running_backend

PLAN = {"serverId": 1, "query": "uptime", "agent_type": "general"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LocalHost:1", 200),
        ("127.0.0.1:8000", 200),
        ("127.9.9.9", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("evil.example:8000", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost@evil.example", 400),
        ("evil@localhost", 400),
        ("localhost/evil", 400),
        ("10.0.0.1", 400),
        ("", 400),
        ("[", 400),
    ],
)
def test_host(backend: BackendProcess, host: str, status: int) -> None:
    """Only names of this machine are answered, so that a rebound DNS name reaches nothing."""
    assert backend.http.get("/api/servers", headers={"Host": host}).status_code == status


def test_host_guards_every_path_but_health(backend: BackendProcess) -> None:
    """A foreign Host gets nothing anywhere, metrics included, except the signs of life."""
    foreign = {"Host": "evil.example"}
    paths = ["/metrics", "/openapi.json", "/", "/nowhere", "/healthz", "/readyz"]
    got = [backend.http.get(path, headers=foreign).status_code for path in paths]
    assert got == [400, 400, 400, 400, 200, 200]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 404),
        ("http://localhost:{port}", 404),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost", 403),
        ("http://localhost:1", 403),
        ("file://localhost:{port}", 403),
        ("http://[", 403),
    ],
)
def test_origin(backend: BackendProcess, origin: str | None, status: int) -> None:
    """A call that changes something is refused to pages of any other origin, a body or none."""
    headers = {"Host": f"localhost:{backend.port}"}
    if origin is not None:
        headers["Origin"] = origin.format(port=backend.port)
    path = f"/api/executions/{'0' * 32}/cancel"
    assert backend.http.post(path, headers=headers).status_code == status


def test_origin_does_not_matter_for_reading(backend: BackendProcess) -> None:
    """Reading is guarded by the browser itself, so a foreign Origin reads as before."""
    assert backend.http.get("/api/servers", headers={"Origin": "http://evil.example"}).status_code == 200


def test_key(data_dir: Path, tmp_path: Path) -> None:
    """With a key everything but health wants it, and /metrics wants its own token instead."""
    key_file = tmp_path / "key"
    key_file.write_text("the-key-of-this-test\n")
    environment = {"AOSS_API_KEY_FILE": str(key_file), "AOSS_METRICS_TOKEN": "the-token-of-this-test"}
    with running_backend(data_dir, environment) as backend:

        def status(path: str, key: str | None) -> int:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            return backend.http.get(path, headers=headers).status_code

        for path in ("/api/servers", "/openapi.json", "/nowhere"):
            assert status(path, None) == 401
            assert status(path, "wrong") == 401
            assert status(path, "the-token-of-this-test") == 401
        assert status("/api/servers", "the-key-of-this-test") == 200
        assert status("/metrics", None) == 401
        assert status("/metrics", "the-key-of-this-test") == 401
        assert status("/metrics", "the-token-of-this-test") == 200
        assert status("/healthz", None) == 200
        assert status("/readyz", None) == 200
        refused = backend.http.post("/api/chat/plan", json=PLAN, headers={"Authorization": "Basic x"})
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "the-key-of-this-test" not in backend.log


def test_key_beyond_ascii(data_dir: Path) -> None:
    """A key in any letters is compared as the bytes of its UTF-8."""
    with running_backend(data_dir, {"AOSS_API_KEY": "schlüssel"}) as backend:
        for key, status in (("schlüssel", 200), ("schlussel", 401)):
            headers = [(b"Authorization", f"Bearer {key}".encode())]
            assert backend.http.get("/api/servers", headers=headers).status_code == status


def test_key_guards_metrics_where_no_token_is_set(data_dir: Path) -> None:
    """Without a token of its own, /metrics takes the key."""
    with running_backend(data_dir, {"AOSS_API_KEY": "the-key-of-this-test"}) as backend:
        assert backend.http.get("/metrics").status_code == 401
        headers = {"Authorization": "bearer the-key-of-this-test"}
        assert backend.http.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("server", "key", "status"),
    [
        (("127.0.0.1", 8000), None, 200),
        (("::1", 8000), None, 200),
        (("/run/aoss.sock", None), None, 200),
        (("10.1.2.3", 8000), None, 403),
        (("0.0.0.0", 8000), None, 403),  # noqa: S104 - an address to be refused
        (None, None, 403),
        (("10.1.2.3", 8000), "a-key", 200),
    ],
)
async def test_without_a_key_only_loopback(
    data_dir: Path, server: tuple[str, int] | None, key: str | None, status: int
) -> None:
    """Under a server of someone else's, a request to another address is refused where no key is set."""
    values = {"AOSS_DATA_DIR": str(data_dir)} | ({"AOSS_API_KEY": key} if key else {})
    app = create_app(Settings.from_environment(values), TelemetrySettings.from_environment({}))
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"host", b"localhost")] + ([(b"authorization", f"Bearer {key}".encode())] if key else [])
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/openapi.json",
        "raw_path": b"/openapi.json",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("10.0.0.9", 1),
        "server": server,
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == status


def test_allowed_hosts(data_dir: Path) -> None:
    """A name that the operator allows is answered, whatever its case."""
    with running_backend(data_dir, {"AOSS_ALLOWED_HOSTS": "aoss.example, Other.Example"}) as backend:
        for host, status in (("aoss.example:80", 200), ("OTHER.example", 200), ("third.example", 400)):
            assert backend.http.get("/api/servers", headers={"Host": host}).status_code == status


def test_refused_registrations_do_not_echo_secrets(backend: BackendProcess) -> None:
    """A private key or a password in a registration is refused, and neither answered nor logged."""
    server = {"serverTag": "web-01", "ipAddress": "127.0.0.1", "sshUsername": "root"}
    secrets: list[dict[str, Any]] = [
        {"password": "s3cr3t-pass"},
        {"sshPassword": "s3cr3t-pass"},
        {"privateKey": "s3cr3t-pass"},
        {"private_key_pem": "s3cr3t-pass"},
        {"sshKey": "s3cr3t-pass"},
        {"pwd": "s3cr3t-pass"},
        {"auth": [{"Password": "s3cr3t-pass"}]},
        {"sshKey": "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cr3t-pass\n-----END OPENSSH PRIVATE KEY-----"},
        {"hostKey": "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cr3t-pass\n-----END OPENSSH PRIVATE KEY-----"},
    ]
    for secret in secrets:
        answer = backend.http.post("/api/servers", json=server | secret)
        assert answer.status_code == 422, secret
        assert "neither used nor kept" in answer.text or "hostKey" in answer.text
        assert "s3cr3t-pass" not in answer.text
    assert "s3cr3t-pass" not in backend.log


def test_commands_do_not_see_the_backends_environment(data_dir: Path) -> None:
    """A command sees neither the backend's secrets nor anything else of its environment."""
    environment = {"AOSS_API_KEY": "s3cr3t-key", "SOME_OTHER_SECRET": "s3cr3t-other"}
    with running_backend(data_dir, environment) as backend:
        backend.http.headers["Authorization"] = "Bearer s3cr3t-key"
        events = backend.execute("env; tr '\\0' '\\n' < /proc/$PPID/environ")
        assert "PATH=" in events[1]["result"]["stdout"]
        assert "s3cr3t" not in json.dumps(events)


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:1", "a"), ("[::1]:1", "::1"), ("A", "a"), ("x@y:1", ""), ("a/b", ""), ("[", ""), ("", "")],
)
def test_host_name(host: str, name: str) -> None:
    """The name in a Host header is found, or is empty where the header is malformed."""
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("name", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("x", False), ("", False)],  # noqa: S104
)
def test_is_loopback(name: str, loopback: bool) -> None:  # noqa: FBT001 - a table of cases
    """A name is loopback only if it can mean nothing but this machine."""
    assert is_loopback(name) is loopback


def test_docs_load_nothing_from_elsewhere(backend: BackendProcess) -> None:
    """The interactive documentation, which would load scripts from elsewhere, is off."""
    got = [backend.http.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")]
    assert got == [404, 404, httpx.codes.OK]
