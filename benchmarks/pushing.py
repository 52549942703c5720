"""The pushed path under load: the fleet, the project's Collector configuration, VictoriaMetrics."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fleet import Fleet, Series, without
from tests.support.backend import environment_of_tests, free_port
from tests.support.stack.collector import CollectorServer, running_collector
from tests.support.stack.victoria import VictoriaServer

CONFIGURATION = Path(__file__).parent.parent / "otel-collector"
FRAGMENT = "exporters/victoriametrics.yaml"
# What VictoriaMetrics makes of the resource and the scope.
NOT_ATTRIBUTES = (
    "service_name",
    "service_instance_id",
    "service_version",
    "host_name",
    "telemetry_sdk_language",
    "telemetry_sdk_name",
    "telemetry_sdk_version",
    "scope_name",
    "scope_version",
)


class Collector:
    """A running Collector with the project's configuration, which feeds a VictoriaMetrics."""

    def __init__(self, server: CollectorServer, port: int, own_url: str, storage: Path) -> None:
        self.server = server
        self.port = port
        self._own_url = own_url
        self._storage = storage

    def own(self) -> dict[str, float]:
        """Return what the Collector counts of itself: the sum over all labels, by name."""
        found: dict[str, float] = {}
        for sample in self.server.own_metrics(self._own_url):
            name = sample.labels["__name__"]
            found[name] = found.get(name, 0.0) + sample.value
        return found

    def queued(self) -> float:
        """Return how many bytes of metrics wait for the store."""
        return self.own().get("otelcol_exporter_queue_size", 0.0)

    def queue_on_disk(self) -> int:
        """Return how many bytes the queue's files take."""
        return bytes_below(self._storage)

    def wait_until_empty(self, seconds: float) -> float:
        """Wait until nothing is queued, and return how long that took, in s; fail if it takes longer."""
        began = time.monotonic()
        while self.queued():
            assert time.monotonic() < began + seconds, f"{self.queued()} bytes are queued after {seconds} s"
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def project_collector(folder: Path, victoria_url: str) -> Iterator[Collector]:
    """Run the Collector as the project configures it for VictoriaMetrics, on free ports.

    Raises ProgramUnavailableError where the program cannot be had.
    """
    storage = folder / "collector"
    health, http, grpc, own = (free_port() for _ in range(4))
    environment = environment_of_tests() | {
        "COLLECTOR_HEALTH_PORT": str(health),
        "COLLECTOR_HTTP_PORT": str(http),
        "COLLECTOR_GRPC_PORT": str(grpc),
        "COLLECTOR_METRICS_PORT": str(own),
        "COLLECTOR_STORAGE": str(storage),
        "VICTORIAMETRICS_URL": victoria_url,
    }
    with running_collector(
        CONFIGURATION / "config.yaml",
        CONFIGURATION / FRAGMENT,
        health_port=health,
        log_path=folder / "collector.log",
        environment=environment,
    ) as server:
        yield Collector(server, http, f"http://127.0.0.1:{own}/metrics", storage)


def stored(victoria: VictoriaServer) -> Iterator[tuple[str, Series, int, float]]:
    """Yield the instance, the series, the number of samples and the last value of all that a store has.

    Samples of one time are counted once: one that was sent again after an answer was lost is no second one.
    """
    victoria.flush()
    with victoria.http.stream("GET", "/api/v1/export", params={"match[]": '{__name__!=""}'}) as answer:
        assert answer.is_success, answer.read()
        for line in answer.iter_lines():
            found = json.loads(line)
            labels, times = found["metric"], found["timestamps"]
            _, value = max(zip(times, found["values"], strict=True))
            yield labels["service_instance_id"], without(labels, *NOT_ATTRIBUTES), len(set(times)), value


def check_store(victoria: VictoriaServer, fleet: Fleet) -> None:
    """Check that a store has every export of every series, and the last value of each."""
    expected = {name: dict(series) for name, series in fleet.expected().items()}
    exports = {backend.name: backend.exports for backend in fleet.backends}
    wrong: list[str] = []
    for name, series, samples, value in stored(victoria):
        wanted = expected[name].pop(series, None)
        if (wanted, exports[name]) != (value, samples):
            wrong.append(f"{name} {series}: {value} ({samples}), not {wanted} ({exports[name]})")
    wrong += [f"{name} {series} is missing" for name, left in expected.items() for series in left]
    assert not wrong, f"{len(wrong)} series are wrong: {wrong[:5]}"


def check_nothing_lost(own: Mapping[str, float], fleet: Fleet) -> None:
    """Check that every point was accepted and sent on, by the fleet's count and by the Collector's own."""
    assert not fleet.refused, f"{len(fleet.refused)} exports were refused: {fleet.refused[:5]}"
    points = sum(backend.exports * backend.points for backend in fleet.backends)
    counted = {
        name: own.get(f"otelcol_{name}_metric_points", 0.0)
        for name in (
            "receiver_accepted",
            "receiver_refused",
            "exporter_sent",
            "exporter_send_failed",
            "exporter_enqueue_failed",
        )
    }
    expected = dict.fromkeys(counted, 0.0) | {"receiver_accepted": points, "exporter_sent": points}
    assert counted == expected, f"the Collector counted {counted}, not {expected}"


def bytes_below(folder: Path) -> int:
    """Return how many bytes the files below a folder take on the disk."""
    found = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                found += (Path(path) / name).stat().st_blocks * 512
            except FileNotFoundError:  # a store merges its files meanwhile
                continue
    return found
