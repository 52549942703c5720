"""The backends and servers that are examined, each started once."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main
from app.doctor.findings import Finding
from app.doctor.web import Web
from tests.otel_collector.deployment import BASE, FRAGMENTS, Collector
from tests.stack.deployment import METRICS_TOKEN, copy_prometheus
from tests.support.backend import BackendProcess, free_port, running_backend, wait_for
from tests.support.stack.alertmanager import running_alertmanager
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.prometheus import PrometheusServer, running_prometheus
from tests.support.stack.victoria import VictoriaServer, running_victoria


@dataclass(frozen=True)
class Stack:
    """All that an operator runs but Grafana, healthy; the token's file as well."""

    backend: BackendProcess
    prometheus: PrometheusServer
    collector: Collector
    victoria: VictoriaServer
    token_file: Path


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a backend with 2 workers that is scraped and pushes, with the project's own files around it."""
    folder = tmp_path_factory.mktemp("doctor")
    token_file = folder / "token"
    token_file.write_text(f"{METRICS_TOKEN}\n")
    nobody = folder / "alertmanager.yml"
    nobody.write_text("{route: {receiver: nobody}, receivers: [{name: nobody}]}\n")
    with ExitStack() as running:
        try:
            victoria = running.enter_context(running_victoria(folder / "victoria"))
            alertmanager = running.enter_context(running_alertmanager(nobody, folder / "alertmanager"))
            exporters = (FRAGMENTS["victoriametrics"], FRAGMENTS["debug"])
            settings = {"VICTORIAMETRICS_URL": victoria.url}
            collector = Collector(folder / "collector", BASE, *exporters, environment=settings)
            running.enter_context(collector)
            config = folder / "prometheus"
            prometheus = running_prometheus(config / "prometheus.yml", folder / "data")
        except ProgramUnavailableError as error:
            pytest.skip(str(error))
        pushes = {
            "AOSS_WORKERS": "2",
            "AOSS_METRICS_TOKEN": METRICS_TOKEN,
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
        }
        backend = running.enter_context(running_backend(folder / "aoss", pushes))
        own = int(collector.metrics_url.split(":")[2].partition("/")[0])
        targets = {"aoss-backend": backend.port, "otel-collector": own, "prometheus": prometheus.port}
        copy_prometheus(config, targets, alertmanager.port)
        running.enter_context(prometheus)
        wait_for(
            lambda: prometheus.rules() and all(rule["health"] == "ok" for rule in prometheus.rules()), 60
        )
        wait_for(lambda: prometheus.query("aoss_executions_total"), 30)
        wait_for(lambda: prometheus.query("otel_sdk_worker_live == 2"), 30)
        sent = "otelcol_exporter_sent_metric_points"
        wait_for(lambda: collector.own(sent, exporter="otlp_http/victoriametrics") > 0, 30)
        yield Stack(backend, prometheus, collector, victoria, token_file)


@pytest.fixture(scope="package")
def plain_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Run a backend with no settings at all."""
    with running_backend(tmp_path_factory.mktemp("plain") / "aoss") as backend:
        yield backend


@pytest.fixture(scope="package")
def official_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Run 2 workers with the official SDK, whose pushes go where nobody listens."""
    settings = {
        "AOSS_WORKERS": "2",
        "OTEL_PYTHON_METER_PROVIDER": "sdk_meter_provider",
        "OTEL_METRICS_EXPORTER": "prometheus,otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2",
    }
    folder = tmp_path_factory.mktemp("official")
    with running_backend(folder / "aoss", settings) as backend:
        # The backend is ready as soon as one of them is.
        wait_for(lambda: len({instance(backend) for _ in range(8)}) == 2)
        yield backend


def instance(backend: BackendProcess) -> str:
    """Return the instance that answers a connection of its own."""
    text = httpx.get(f"{backend.url}/metrics", trust_env=False).text
    match = re.search(r'service_instance_id="([^"]+)"', text)
    assert match is not None, text[:1000]
    return match[1]


@contextmanager
def prometheus_with(folder: Path, config: dict[str, Any]) -> Iterator[PrometheusServer]:
    """Run a Prometheus with a configuration of a test."""
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    try:
        server = running_prometheus(path, folder / "data")
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def web() -> Iterator[Web]:
    """Give the client of the checks."""
    with Web() as client:
        yield client


@pytest.fixture
def nobody() -> str:
    """Give an address at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def verdicts(findings: list[Finding]) -> dict[str, str]:
    """Return the verdicts by check; several of one check are joined by commas."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        found.setdefault(f"{finding.section}.{finding.check}", []).append(finding.verdict)
    return {check: ",".join(each) for check, each in found.items()}


def the(findings: list[Finding], check: str) -> Finding:
    """Return the only finding of a check."""
    (finding,) = [each for each in findings if f"{each.section}.{each.check}" == check]
    return finding


def doctor(*arguments: str) -> int:
    """Run the command in this process and return its exit code."""
    try:
        return main(["doctor", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
