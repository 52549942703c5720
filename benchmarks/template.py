"""What one backend shows of itself, taken from a real one and cut to a number of series."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.support.backend import BackendProcess, running_backend
from tests.support.otlp import http_receiver

SERVERS = 5
# Its points are what the template loses, one by one, until it has the wanted number of series.
CUT = "aoss.executions.completed"
CUT_SAMPLE = "aoss_executions_completed_total{"
# What Prometheus sends, with the names that the project's configuration asks for.
ACCEPT = "application/openmetrics-text;version=1.0.0;escaping=underscores"
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Template:
    """A push and a scrape of the same backend; each has exactly `series` Prometheus series.

    A series is what a store keeps under one name and one set of labels: a histogram point with 14 bounds is
    17, its 15 buckets, its count and its sum. `_created` lines, which become no series, do not count.
    """

    series: int
    push: ExportMetricsServiceRequest
    scrape: str


def capture(series: int) -> Template:
    """Run a backend with five registered servers, execute as every persona, and take what it shows.

    Raises ValueError where the backend has fewer series than wanted, or far more.
    """
    with tempfile.TemporaryDirectory() as folder, http_receiver() as receiver:
        settings = {
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "AOSS_METRICS_CREATED_TIMESTAMPS": "true",
        }
        with running_backend(Path(folder) / "data", settings) as backend:
            _use(backend)
            pushed = len(receiver.requests)
            deadline = time.monotonic() + WAIT_SECONDS
            while len(receiver.requests) < pushed + 2:  # the next may have been on its way
                assert time.monotonic() < deadline, "the backend has stopped pushing"
                time.sleep(0.05)
            scrape = backend.http.get("/metrics", headers={"Accept": ACCEPT}).text
    return cut(receiver.requests[-1], scrape, series)


def cut(push: ExportMetricsServiceRequest, scrape: str, series: int) -> Template:
    """Return what is left of a push and a scrape when each is cut to a number of series.

    Raises ValueError where one has fewer, or cannot lose as many.
    """
    shorter = ExportMetricsServiceRequest()
    shorter.CopyFrom(push)
    _cut_push(shorter, series)
    return Template(series, shorter, _cut_scrape(scrape, series))


def push_series(push: ExportMetricsServiceRequest) -> int:
    """Return how many Prometheus series a push has."""
    found = 0
    for scope in push.resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            if metric.HasField("histogram"):
                found += sum(len(point.bucket_counts) + 2 for point in metric.histogram.data_points)
            else:
                found += len(getattr(metric, str(metric.WhichOneof("data"))).data_points)
    return found


def is_sample(line: str) -> bool:
    """Return whether a line of an exposition is a sample that becomes one of a series."""
    return (
        not line.startswith("#")
        and "_created{" not in line
        and not line.partition(" ")[0].endswith("_created")
    )


def _use(backend: BackendProcess) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    for number in range(SERVERS):
        tag = f"prod-web-{number:02}"
        server = {"serverTag": tag, "hostname": tag, "sshUsername": "aoss", "hostKey": key}
        answer = backend.http.post("/api/servers", json=server)
        assert answer.status_code == 201, answer.text
    for agent_type in ("general", "network", "database", "security"):
        backend.execute("true", agent_type=agent_type)
    backend.execute("false")


def _cut_push(push: ExportMetricsServiceRequest, series: int) -> None:
    surplus = push_series(push) - series
    for scope in push.resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            points = metric.sum.data_points
            if metric.name == CUT and 0 < surplus < len(points):
                del points[-surplus:]
                surplus = 0
    if surplus:
        raise ValueError(f"the backend pushed {series + surplus} series, which cannot be cut to {series}")


def _cut_scrape(scrape: str, series: int) -> str:
    lines = scrape.splitlines()
    surplus = sum(map(is_sample, lines)) - series
    candidates = [line for line in lines if line.startswith(CUT_SAMPLE)]
    if not 0 <= surplus < len(candidates):
        raise ValueError(f"the backend showed {series + surplus} series, which cannot be cut to {series}")
    gone = set(candidates[len(candidates) - surplus :])
    gone |= {line.partition(" ")[0].replace("_total{", "_created{") for line in gone}
    kept = [line for line in lines if line not in gone and line.partition(" ")[0] not in gone]
    return "\n".join(kept) + "\n"
