"""The image of the Dockerfile, run as docker-compose.yml says but for Docker itself."""

from pathlib import Path

import pytest

from tests.compose.build import BUILD_SECONDS
from tests.compose.definition import ROOT, services
from tests.compose.machine import Container, Machine

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 120)

BACKEND = "http://backend:8000"


def bearer(secrets: Path, name: str) -> tuple[str, str]:
    """Return the arguments that make curl send a secret."""
    return "-H", f"Authorization: Bearer {(secrets / name).read_text().strip()}"


def test_process(backend: Container) -> None:
    """The backend runs as its own user, can do nothing that needs a capability, and gain none."""
    status = backend.status()
    assert "10001\t10001\t10001\t10001" == status["Uid"] == status["Gid"]
    assert status["Groups"] == ""
    assert (status["CapEff"], status["CapBnd"]) == ("0000000000000000", "0000000000000000")
    assert status["NoNewPrivs"] == "1"


def test_two_workers(backend: Container) -> None:
    """As many processes as AOSS_WORKERS asks for serve."""
    processes = backend.execute("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert int(backend.service.environment()["AOSS_WORKERS"]) == processes.count("spawn_main(")


@pytest.mark.parametrize("path", ["/", "/opt/aoss", "/etc/aoss/ssh", "/run/secrets"])
def test_read_only(backend: Container, path: str) -> None:
    """Outside the volume and the tmpfs the file system is read-only, which comes before any permission."""
    assert "Read-only file system" in backend.execute("mkdir", f"{path}/probe").stderr


def test_writable(backend: Container) -> None:
    """The data is in the volume, of its user alone, and the measurements are in memory."""
    shown = backend.execute("stat", "-c", "%u %a", "/var/lib/aoss", "/var/lib/aoss/aoss.db").stdout
    assert shown.splitlines() == ["10001 700", "10001 600"]
    assert backend.execute("sh", "-c", "ls -d /dev/shm/otel-metrics-*").returncode == 0


def test_image_is_lean(backend: Container) -> None:
    """What builds and installs packages has stayed in the first stage, with the sources and the tests."""
    listed = backend.execute("sh", "-c", "ls /opt/aoss/bin /opt/aoss/lib/python3*/site-packages").stdout
    assert {"aoss", "app", "telemetry"} <= set(listed.split())
    assert not {"pip", "setuptools", "tests", "grafana", "benchmarks"} & set(listed.split())
    assert backend.execute("sh", "-c", "ls /src 2>/dev/null").stdout == ""


def test_health_check(backend: Container) -> None:
    """The health check tells a backend that is ready from one that does not answer."""
    kind, *command = services()["backend"].raw["healthcheck"]["test"]
    assert kind == "CMD"
    assert backend.execute(*command).returncode == 0
    assert backend.execute(*(word.replace(":8000", ":8001") for word in command)).returncode != 0


def test_metrics_token(machine: Machine, backend: Container, secrets: Path) -> None:
    """Prometheus' token opens /metrics and nothing else; without one, nothing is shown."""
    token = bearer(secrets, "aoss_metrics_token")
    assert machine.get(f"{BACKEND}/metrics")[0] == 401
    assert machine.get(f"{BACKEND}/api/servers", *token)[0] == 401
    status, text = machine.get(f"{BACKEND}/metrics", *token, "-H", "Accept: application/openmetrics-text")
    assert status == 200
    assert "aoss_executions_created" in text or "_created{" in text
    assert text.endswith("# EOF\n")


def test_console(machine: Machine, backend: Container) -> None:
    """The image holds the console: the page, its programs and the library of the charts."""
    for path in ("/", "/console/main.js", "/console/base.css", "/console/vendor/uplot/uPlot.esm.js"):
        status, text = machine.get(f"{BACKEND}{path}")
        assert (path, status, bool(text)) == (path, 200, True)


def test_hosts(machine: Machine, backend: Container, secrets: Path) -> None:
    """It answers under its service's name and under loopback addresses, and under no other name."""
    token = bearer(secrets, "aoss_metrics_token")
    assert machine.get("http://127.0.0.1:8000/metrics", *token)[0] == 200
    assert machine.get(f"{BACKEND}/metrics", *token, "-H", "Host: elsewhere.example:8000")[0] == 400


def test_only_servers_over_ssh(machine: Machine, backend: Container, secrets: Path) -> None:
    """The container itself is no server; one over SSH is registered with a key of the mounted folder."""
    key = (*bearer(secrets, "aoss_api_key"), "-H", "Content-Type: application/json")
    assert '"servers":[]' in machine.get(f"{BACKEND}/api/servers", *key)[1]
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBGHPfTDLcMZhGDjP6bUEhtNwkdNP5gqVdFFsLJ7Hq5m"
    body = (
        '{"serverTag": "web-01", "ipAddress": "192.0.2.10", "sshUsername": "deploy", '
        f'"sshKeyPath": "id_ed25519", "hostKey": "{host_key}"}}'
    )
    status, answer = machine.get(f"{BACKEND}/api/servers", *key, "-d", body)
    assert status == 201, answer
    assert '"runner":"ssh"' in answer


def test_backup(backend: Container) -> None:
    """What docs/deployment.md backs the database up with gives a whole copy of it."""
    page = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    (program,) = (line for line in page.splitlines() if "sqlite3" in line)
    command = program.partition("python -c ")[2].strip().strip("'")
    assert backend.execute("python", "-c", command).returncode == 0
    check = (
        'import sqlite3; print(*sqlite3.connect("/var/lib/aoss/backup.db").execute("pragma integrity_check"))'
    )
    assert backend.execute("python", "-c", check).stdout == "('ok',)\n"
