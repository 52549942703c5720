"""From a backend that dies to the webhook: Prometheus, Alertmanager and their configurations as they are.

Changed in the copies, so that it takes seconds: the pace of scrapes and rules (15 s to 1 s), `for` and
`keep_firing_for` of AossBackendDown (2 minutes to 3 and 1 s), Alertmanager's waits (to 1 s), addresses, and
the path of the webhook's secret.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.prometheus.files import CONFIGURATION, RUNBOOKS, copy_of_configuration, found, replace
from tests.prometheus.world import EXTERNAL_URL, PACE, aoss_backend, world
from tests.support.backend import BackendProcess, wait_for
from tests.support.processes import marked, new_marker
from tests.support.stack.alertmanager import AlertmanagerServer, running_alertmanager
from tests.support.stack.prometheus import running_prometheus

Notification = dict[str, Any]


@contextmanager
def webhook() -> Iterator[tuple[str, list[Notification]]]:
    """Receive notifications for the length of a block."""
    received: list[Notification] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()


def running_copy_of_alertmanager(folder: Path, url: str) -> AlertmanagerServer:
    """Return an Alertmanager with the project's configuration, its waits shortened."""
    found("alertmanager")
    copy = folder / "alertmanager.yml"
    secret = folder / "alertmanager_webhook_url"
    secret.write_text(f"{url}\n")
    copy.write_text((CONFIGURATION / "alertmanager.yml").read_text())
    replace(
        copy,
        ("group_wait: 30s", "group_wait: 1s"),
        ("group_wait: 2m", "group_wait: 1s"),
        ("group_interval: 5m", "group_interval: 1s"),
        ("/etc/alertmanager/secrets/alertmanager_webhook_url", str(secret)),
    )
    return running_alertmanager(copy, folder / "alertmanager")


def pointing_to(alertmanager: AlertmanagerServer) -> Callable[[Path], None]:
    """Return the changes of Prometheus' copy."""

    def change(copy: Path) -> None:
        replace(copy / "prometheus.yml", ("alertmanager:9093", f"127.0.0.1:{alertmanager.port}"))
        replace(
            copy / "rules" / "alerts-backend.yml",
            ("        for: 2m\n        keep_firing_for: 2m", "        for: 3s\n        keep_firing_for: 1s"),
        )

    return change


def about(received: list[Notification], alert: str, status: str) -> list[dict[str, Any]]:
    """Return what was received of an alert, with that status."""
    return [
        each
        for notification in received
        for each in notification["alerts"]
        if each["labels"]["alertname"] == alert and each["status"] == status
    ]


def interrupt_an_execution(backend: BackendProcess) -> None:
    """Kill the worker that executes something; another takes its place."""
    marker = new_marker()
    with backend.execution(f"sleep {marker}") as (execution, _):
        wait_for(lambda: marked(marker))
        process = psutil.Process(next(iter(marked(marker))))
        worker = next(each for each in process.parents() if "multiprocessing" in " ".join(each.cmdline()))
        worker.kill()
        wait_for(lambda: backend.status(execution) == "Interrupted", 20)


def test_a_dead_backend_is_told_and_its_return_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AossBackendDown reaches the webhook with its runbook, inhibits its instance's alerts, is resolved."""
    with (
        webhook() as (url, received),
        running_copy_of_alertmanager(tmp_path, url) as alertmanager,
        world(tmp_path, pointing_to(alertmanager), AOSS_WORKERS="2") as each,
    ):
        each.wait_for_target("aoss-backend", "up")
        wait_for(lambda: each.prometheus.query("aoss_executions_completed_total offset 2s") != [], 20)
        interrupt_an_execution(each.backend)
        wait_for(lambda: about(received, "AossExecutionsInterrupted", "firing"), 30)

        each.backend.stop()
        wait_for(lambda: about(received, "AossBackendDown", "firing"), 40)
        alert = about(received, "AossBackendDown", "firing")[0]
        instance = f"127.0.0.1:{each.backend.port}"
        assert alert["labels"] == {
            "alertname": "AossBackendDown",
            "severity": "page",
            "job": "aoss-backend",
            "instance": instance,
        }
        assert alert["annotations"] == {
            "summary": f"AOSS backend {instance} does not answer",
            "description": f"Prometheus has failed to scrape {instance} for 2 minutes: nobody can plan or "
            "execute there, or the metrics token is wrong.",
            "runbook_url": f"{EXTERNAL_URL}/consoles/AossBackendDown.md",
        }
        runbook = each.prometheus.http.get(alert["annotations"]["runbook_url"].removeprefix(EXTERNAL_URL))
        assert runbook.text == (RUNBOOKS / "AossBackendDown.md").read_text()

        def states() -> dict[str, str]:
            return {held["labels"]["alertname"]: held["status"]["state"] for held in alertmanager.alerts()}

        wait_for(lambda: states().get("AossExecutionsInterrupted") == "suppressed", 20)
        assert states()["AossBackendDown"] == "active"

        monkeypatch.setattr("tests.support.backend.free_port", lambda: each.backend.port)
        with aoss_backend(tmp_path, AOSS_WORKERS="2"):
            wait_for(lambda: about(received, "AossBackendDown", "resolved"), 40)


BACKEND, OTHER, COLLECTOR = (
    {"job": job, "instance": instance}
    for job, instance in (("backend", "a:8000"), ("backend", "b:8000"), ("collector", "c:8888"))
)
JOB = {"job": "backend"}
PAIRS = [
    ("AossBackendDown", BACKEND, "AossScrapeFailing", BACKEND, "suppressed"),
    ("AossBackendDown", BACKEND, "AossScrapeFailing", OTHER, "active"),
    ("AossBackendDown", BACKEND, "AossBackendDown", OTHER, "active"),
    ("AossBackendDown", BACKEND, "AossSuccessBurnFast", JOB, "active"),
    ("AossBackendAbsent", JOB, "AossSuccessBurnFast", JOB, "suppressed"),
    ("AossBackendAbsent", JOB, "AossCollectorDown", COLLECTOR, "active"),
    ("AossSuccessBurnFast", JOB, "AossSuccessBurnSlow", JOB, "suppressed"),
    ("AossSuccessBurnFast", JOB, "AossLatencyBurnSlow", JOB, "active"),
    ("AossSuccessBurnSlow", JOB, "AossSuccessBurnFast", JOB, "active"),
    ("AossLatencyBurnFast", JOB, "AossLatencyBurnSlow", JOB, "suppressed"),
    ("AossCollectorDown", COLLECTOR, "AossCollectorQueueFilling", COLLECTOR, "suppressed"),
    ("AossCollectorDown", COLLECTOR, "AossCollectorLogGrowing", COLLECTOR, "suppressed"),
    ("AossCollectorDown", COLLECTOR, "AossCollectorDropping", COLLECTOR, "suppressed"),
    ("AossCollectorDown", COLLECTOR, "PrometheusRulesFailing", COLLECTOR, "active"),
]


def test_alerts_are_inhibited_by_what_explains_them(tmp_path: Path) -> None:
    """An alert is suppressed by the alert that explains it, and by no other."""
    now = datetime.now(UTC).isoformat()
    alerts = []
    for number, (source, of_source, target, of_target, _) in enumerate(PAIRS):
        for role, name, labels in (("source", source, of_source), ("target", target, of_target)):
            # A job of its own keeps each pair from the others.
            own = {"alertname": name, "job": f"{labels['job']} {number}", "role": role}
            alerts.append({"labels": labels | own, "startsAt": now})

    with webhook() as (url, _), running_copy_of_alertmanager(tmp_path, url) as alertmanager:
        answer = alertmanager.http.post("/api/v2/alerts", json=alerts)
        assert answer.status_code == 200, answer.text

        def states() -> dict[int, str]:
            return {
                int(held["labels"]["job"].split()[1]): held["status"]["state"]
                for held in alertmanager.alerts()
                if held["labels"]["role"] == "target"
            }

        expected = {number: state for number, (*_, state) in enumerate(PAIRS)}
        wait_for(lambda: len(states()) == len(PAIRS) and "unprocessed" not in states().values(), 20)
        wait_for(
            lambda: list(states().values()).count("suppressed") >= list(expected.values()).count("suppressed")
        )
        assert states() == expected


def test_an_alert_without_a_backend_at_all(tmp_path: Path) -> None:
    """AossBackendAbsent reaches the webhook where Prometheus has no target."""
    found("prometheus")
    copy = copy_of_configuration(tmp_path, "a token")
    with webhook() as (url, received), running_copy_of_alertmanager(tmp_path, url) as alertmanager:
        replace(
            copy / "prometheus.yml",
            *PACE,
            ("job_name: aoss-backend", "job_name: another"),
            ("alertmanager:9093", f"127.0.0.1:{alertmanager.port}"),
        )
        replace(copy / "rules" / "alerts-backend.yml", ("for: 5m", "for: 3s"))
        with running_prometheus(copy / "prometheus.yml", tmp_path / "data"):
            wait_for(lambda: about(received, "AossBackendAbsent", "firing"), 40)
    (notification,) = [each for each in received if each["groupLabels"]["alertname"] == "AossBackendAbsent"][
        :1
    ]
    assert notification["groupLabels"] == {"alertname": "AossBackendAbsent", "job": "aoss-backend"}
    assert notification["receiver"] == "webhook"
