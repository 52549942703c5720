"""What an operator runs, on free loopback ports, with the project's own configuration files."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.backend import free_port
from tests.support.stack.alertmanager import AlertmanagerServer, running_alertmanager
from tests.support.stack.collector import CollectorServer, running_collector
from tests.support.stack.prometheus import PrometheusServer, running_prometheus
from tests.support.stack.victoria import VictoriaServer, running_victoria

ROOT = Path(__file__).parents[2]
COLLECTOR = ROOT / "otel-collector"

PROMETHEUS = ROOT / "prometheus"

METRICS_TOKEN = "metrics-token-of-the-tests"
COLLECTOR_TOKEN = "collector-token-of-the-tests"
FAN_OUT = ("victoriametrics", "prometheus-remote-write", "otlp-grpc", "file", "debug")


@dataclass(frozen=True)
class CollectorPorts:
    """The ports of one Collector."""

    grpc: int
    http: int
    health: int
    metrics: int

    @classmethod
    def free(cls) -> "CollectorPorts":
        """Return ports that nobody uses at this moment."""
        return cls(free_port(), free_port(), free_port(), free_port())


@dataclass(frozen=True)
class Stores:
    """Where the Collector sends everything, all at once."""

    victoria: VictoriaServer
    remote_written: PrometheusServer
    file: Path
    second_file: Path


@dataclass(frozen=True)
class Deployment:
    """The servers around the backend, in a folder of their own."""

    folder: Path
    stores: Stores
    collector: CollectorServer
    dropping_collector: Callable[[], CollectorServer]
    ports: CollectorPorts
    alertmanager: AlertmanagerServer

    def backend_environment(self) -> dict[str, str]:
        """Return the settings of a backend that is scraped and pushes at once."""
        headers = self.folder / "otlp_headers"
        headers.write_text(f"Authorization=Bearer%20{COLLECTOR_TOKEN}\n")
        return {
            "AOSS_METRICS_TOKEN": METRICS_TOKEN,
            "AOSS_METRICS_CREATED_TIMESTAMPS": "true",
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.ports.http}",
            "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(headers),
            # A push to a Collector that is away fails after this many seconds of trying again.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        }

    def prometheus(self, backend_port: int) -> PrometheusServer:
        """Return the Prometheus that scrapes them all, not yet started."""
        config = self.folder / "prometheus-config"
        server = running_prometheus(config / "prometheus.yml", self.folder / "prometheus")
        targets = {
            "aoss-backend": backend_port,
            "otel-collector": self.ports.metrics,
            "prometheus": server.port,
        }
        copy_prometheus(config, targets, self.alertmanager.port)
        return server


def copy_prometheus(folder: Path, targets: Mapping[str, int], alertmanager: int) -> None:
    """Copy the project's Prometheus configuration with these substitutions, and no others.

    Scrapes and rules are a second apart instead of 15, a scrape may take a second, targets and the
    Alertmanager have the ports given, and the secret is the tests'.
    """
    shutil.copytree(PROMETHEUS, folder)
    config = folder / "prometheus.yml"
    settings: dict[str, Any] = yaml.safe_load(config.read_text())
    settings["global"] |= dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
    for scrape in settings["scrape_configs"]:
        (static,) = scrape["static_configs"]
        static["targets"] = [f"127.0.0.1:{targets[scrape['job_name']]}"]
    (sender,) = settings["alerting"]["alertmanagers"]
    sender["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets" / "aoss_metrics_token").write_text(METRICS_TOKEN)


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Run the servers around the backend; raises ProgramUnavailableError where one cannot be had."""
    nothing = folder / "nothing.yml"
    nothing.write_text("{}\n")
    nobody = folder / "alertmanager.yml"
    nobody.write_text("{route: {receiver: nobody}, receivers: [{name: nobody}]}\n")
    first, second = CollectorPorts.free(), CollectorPorts.free()
    with (
        running_victoria(folder / "victoria") as victoria,
        running_prometheus(nothing, folder / "remote-written", "--web.enable-remote-write-receiver") as store,
        running_alertmanager(nobody, folder / "alertmanager") as alertmanager,
    ):
        stores = Stores(victoria, store, folder / "first.json", folder / "second.json")
        (folder / "collector_token").write_text(COLLECTOR_TOKEN)
        sends_to = {
            "COLLECTOR_TOKEN_FILE": str(folder / "collector_token"),
            "COLLECTOR_FILE": str(stores.file),
            "VICTORIAMETRICS_URL": victoria.url,
            "REMOTE_WRITE_ENDPOINT": f"{store.url}/api/v1/write",
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{second.grpc}",
            "OTLP_GRPC_INSECURE": "true",
        }
        everywhere = ("listen", *(f"exporters/{name}" for name in FAN_OUT))

        def dropping_collector() -> CollectorServer:
            """Return one, not yet started, that a store refuses, and one of whose queues is too small."""
            refused = sends_to | {"VICTORIAMETRICS_URL": f"{victoria.url}/nothing-is-here"}
            small = "yaml:exporters::otlp_grpc::sending_queue: {queue_size: 100, batch: null}"
            return _collector(folder / "dropping", first, everywhere, refused, small)

        with (
            _collector(
                folder / "second", second, ["exporters/file"], {"COLLECTOR_FILE": str(stores.second_file)}
            ),
            _collector(folder / "first", first, everywhere, sends_to) as collector,
        ):
            yield Deployment(folder, stores, collector, dropping_collector, first, alertmanager)


def _collector(
    folder: Path,
    ports: CollectorPorts,
    fragments: Sequence[str],
    environment: Mapping[str, str],
    *more: str,
) -> CollectorServer:
    folder.mkdir()
    return running_collector(
        *(COLLECTOR / f"{name}.yaml" for name in ("config", *fragments)),
        *more,
        health_port=ports.health,
        log_path=folder / "log",
        environment={
            "COLLECTOR_GRPC_PORT": str(ports.grpc),
            "COLLECTOR_HTTP_PORT": str(ports.http),
            "COLLECTOR_HEALTH_PORT": str(ports.health),
            "COLLECTOR_METRICS_PORT": str(ports.metrics),
            "COLLECTOR_STORAGE": str(folder / "storage"),
            **environment,
        },
    )
