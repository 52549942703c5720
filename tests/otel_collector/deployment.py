"""A Collector with the project's own configuration files, and an SDK that pushes to it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource

from tests.support.backend import environment_of_tests, free_port
from tests.support.stack.collector import CollectorServer
from tests.support.stack.programs import program
from tests.support.stack.promql import QueryServer
from tests.support.stack.victoria import VictoriaServer

FOLDER = Path(__file__).parents[2] / "otel-collector"
BASE = FOLDER / "config.yaml"
LISTEN = FOLDER / "listen.yaml"
TLS = FOLDER / "tls.yaml"
FRAGMENTS = {path.stem: path for path in sorted(FOLDER.glob("exporters/*.yaml"))}
FILES = [BASE, LISTEN, TLS, *FRAGMENTS.values()]


def loaded(path: Path) -> dict[str, Any]:
    """Return a file's content."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


class Collector(CollectorServer):
    """A Collector for a `with` block, its storage and log in a folder, every port a free one.

    Raises ProgramUnavailableError where the program cannot be had.
    """

    def __init__(
        self, folder: Path, *files: Path | str, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        grpc, http, health, metrics = (free_port() for _ in range(4))
        self.grpc = f"127.0.0.1:{grpc}"
        self.http_endpoint = f"http://127.0.0.1:{http}"
        self.metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        ports = {
            "COLLECTOR_GRPC_PORT": str(grpc),
            "COLLECTOR_HTTP_PORT": str(http),
            "COLLECTOR_HEALTH_PORT": str(health),
            "COLLECTOR_METRICS_PORT": str(metrics),
        }
        super().__init__(
            [str(program("otelcol")), *(f"--config={file}" for file in files)],
            port=health,
            log_path=folder / "collector.log",
            environment=environment_of_tests()
            | ports
            | {"COLLECTOR_STORAGE": str(folder)}
            | dict(environment or {}),
        )

    def own(self, name: str, **labels: str) -> float:
        """Return the sum of those samples of one of its own metrics that carry at least these labels."""
        wanted = labels.items() | {("__name__", name)}
        return sum(
            sample.value for sample in self.own_metrics(self.metrics_url) if sample.labels.items() >= wanted
        )

    def listening(self) -> set[tuple[str, int]]:
        """Return the addresses and ports on which its process listens."""
        assert self.process is not None
        connections = psutil.Process(self.process.pid).net_connections("tcp")
        return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == "LISTEN"}


class Pusher:
    """An official SDK that pushes when told to; `service` tells its series from those of others."""

    def __init__(
        self, exporter: GrpcExporter | HttpExporter, service: str, resource: Mapping[str, str]
    ) -> None:
        self._reader = InMemoryMetricReader()
        attributes = {"service.name": service, **resource}
        self._provider = MeterProvider([self._reader], Resource(attributes), shutdown_on_exit=False)
        self._exporter = exporter
        self.meter = self._provider.get_meter("aoss")
        self._counter = self.meter.create_counter("pushed", unit="{push}")
        self._counter.add(0)
        # Prometheus stores a zero where a series starts; in the same millisecond it would displace the first
        # push.
        time.sleep(0.01)

    def push(self, count: int = 1) -> list[MetricExportResult]:
        """Count and export so many times, one after the other."""
        return [self._push() for _ in range(count)]

    def request(self) -> bytes:
        """Count, and return the push that would have been sent."""
        request: bytes = encode_metrics(self._collect()).SerializeToString()
        return request

    def _push(self) -> MetricExportResult:
        return self._exporter.export(self._collect())

    def _collect(self) -> MetricsData:
        self._counter.add(1)
        data = self._reader.get_metrics_data()
        assert data is not None
        return data

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()
        self._provider.shutdown()


@contextmanager
def pushing(
    to: Collector,
    service: str,
    *,
    grpc: bool = True,
    resource: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Pusher]:
    """Give an SDK that pushes to a Collector, over gRPC or HTTP; the options are its exporter's."""
    defaults: dict[str, Any] = {"timeout": 5}
    exporter: GrpcExporter | HttpExporter
    if grpc:
        defaults |= {"endpoint": to.grpc, "insecure": True}
        exporter = GrpcExporter(**defaults | options)
    else:
        defaults |= {"endpoint": f"{to.http_endpoint}/v1/metrics"}
        exporter = HttpExporter(**defaults | options)
    pusher = Pusher(exporter, service, resource or {})
    try:
        yield pusher
    finally:
        pusher.close()


def stored(store: QueryServer, selector: str) -> list[float]:
    """Return every value of `pushed_total` in the last hour, oldest first, of the one series that matches."""
    return [value for _, value in _points(store, selector)]


def stored_times(store: QueryServer, selector: str) -> list[float]:
    """Return the times of what `stored` returns, in seconds since the epoch."""
    return [at for at, _ in _points(store, selector)]


def _points(store: QueryServer, selector: str) -> list[tuple[float, float]]:
    if isinstance(store, VictoriaServer):
        store.flush()
    series = store.samples(f"pushed_total{{{selector}}}[1h]")
    assert len(series) <= 1, series
    return [point for each in series for point in each.points]
