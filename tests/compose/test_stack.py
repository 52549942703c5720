"""All services together, as docker-compose.yml has them, each with its real program."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.compose.build import BUILD_SECONDS
from tests.compose.definition import services
from tests.compose.machine import Container, Machine

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 120)

PROMETHEUS = "http://prometheus:9090/api/v1"
LISTEN = "0A"
WITHOUT_PROGRAM = {"grafana", "postgres"}


def ask(machine: Machine, url: str, *arguments: str) -> Any:
    """Return what an API of Prometheus' kind answers."""
    status, text = machine.get(url, *arguments)
    assert status == 200, text
    return json.loads(text)["data"]


def wait_for_samples(machine: Machine, url: str, query: str) -> list[dict[str, Any]]:
    """Return a query's samples as soon as there are any."""
    deadline = time.monotonic() + 60
    while True:
        samples: list[dict[str, Any]] = ask(
            machine, f"{url}/query", "-G", "--data-urlencode", f"query={query}"
        )["result"]
        if samples or time.monotonic() > deadline:
            return samples
        time.sleep(0.5)


def test_every_service_was_run(stack: dict[str, Container]) -> None:
    """Every service but those whose programs cannot be had was started with its own flags and is up."""
    assert set(services()) - WITHOUT_PROGRAM == set(stack)
    ended = {name: container.log for name, container in stack.items() if container.process.poll() is not None}
    assert {"collector-init"} == set(ended), ended


def test_users(stack: dict[str, Container]) -> None:
    """Every service that stays runs as the user that it is given, without any capability."""
    for name in stack.keys() - {"collector-init"}:
        status = stack[name].status()
        user = stack[name].service.raw["user"].partition(":")[0]
        assert (name, user, "0000000000000000") == (name, status["Uid"].split("\t")[0], status["CapBnd"])


def test_ports(machine: Machine, stack: dict[str, Container]) -> None:
    """Every published port is one on which its service listens."""
    table = machine.inside("cat", "/proc/net/tcp", "/proc/net/tcp6")
    shown = subprocess.run(table, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in shown.splitlines()]
    listening = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTEN}
    for name, container in stack.items():
        for _, _, port in container.service.ports:
            assert int(port) in listening, f"{name} does not listen on {port}"


def test_health_checks(machine: Machine, stack: dict[str, Container]) -> None:
    """Every health check by wget asks an address that answers 200."""
    asked = []
    for container in stack.values():
        test = container.service.raw.get("healthcheck", {}).get("test", [])
        if "wget" in test:
            assert test[:-1] == ["CMD", "wget", "-q", "-O", "/dev/null"]
            assert machine.get(test[-1])[0] == 200
            asked.append(container.service.name)
    assert sorted(asked) == ["alertmanager", "prometheus", "victoriametrics"]


def test_prometheus_scrapes(machine: Machine, stack: dict[str, Container]) -> None:
    """Prometheus scrapes the backend with the token from its file, the Collector, and itself."""
    for job in ("aoss-backend", "otel-collector", "prometheus"):
        assert wait_for_samples(machine, PROMETHEUS, f'up{{job="{job}"}} == 1'), stack["prometheus"].log


def test_prometheus_knows_alertmanager_and_rules(machine: Machine, stack: dict[str, Container]) -> None:
    """Prometheus sends its alerts to Alertmanager, has loaded the rules, and serves the runbooks."""
    managers = ask(machine, f"{PROMETHEUS}/alertmanagers")["activeAlertmanagers"]
    assert [manager["url"] for manager in managers] == ["http://alertmanager:9093/api/v2/alerts"]
    rules = [rule for group in ask(machine, f"{PROMETHEUS}/rules")["groups"] for rule in group["rules"]]
    alerts = {rule["name"] for rule in rules if rule["type"] == "alerting"}
    assert "AossBackendDown" in alerts
    assert machine.get("http://prometheus:9090/consoles/AossBackendDown.md")[0] == 200


def test_alertmanager_loads_the_webhook(machine: Machine, stack: dict[str, Container]) -> None:
    """Alertmanager has its configuration, and its user may read the address of the webhook."""
    shown = json.loads(machine.get("http://alertmanager:9093/api/v2/status")[1])
    assert "alertmanager_webhook_url" in shown["config"]["original"]
    path = "/etc/alertmanager/secrets/alertmanager_webhook_url"
    assert stack["alertmanager"].execute("cat", path).stdout == "http://webhook.invalid/\n"


def test_collector_feeds_the_second_store(machine: Machine, stack: dict[str, Container]) -> None:
    """The backend pushes to the Collector with its token, which feeds VictoriaMetrics."""
    deadline = time.monotonic() + 60
    names: list[str] = []
    while "aoss_db_operations_total" not in names and time.monotonic() < deadline:
        time.sleep(0.5)
        # Queries hide what is younger than half a minute; the index does not.
        machine.get("http://victoriametrics:8428/internal/force_flush")
        names = ask(machine, "http://victoriametrics:8428/api/v1/label/__name__/values")
    assert "aoss_db_operations_total" in names, stack["otel-collector"].log + stack["backend"].log


def test_collector_wants_the_token(machine: Machine, stack: dict[str, Container], secrets: Path) -> None:
    """What comes without the token is refused."""
    push = ("-H", "Content-Type: application/json", "-d", '{"resourceMetrics": []}')
    token = (secrets / "collector_token").read_text().strip()
    url = "http://otel-collector:4318/v1/metrics"
    assert machine.get(url, *push)[0] == 401
    assert machine.get(url, *push, "-H", f"Authorization: Bearer {token}")[0] == 200


def test_stop(stack: dict[str, Container]) -> None:
    """At SIGTERM every service ends by itself within its grace period. Last: the others need them running."""
    for container in stack.values():
        if container.process.poll() is None:
            seconds = float(container.service.raw.get("stop_grace_period", "10s").removesuffix("s"))
            assert (container.service.name, 0) == (container.service.name, container.stop(seconds))
