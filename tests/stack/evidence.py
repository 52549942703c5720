"""What is kept of the run for the tests to judge: servers to ask, times to ask about, series as read."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.stack import series
from tests.stack.deployment import Deployment
from tests.stack.scenario import Held
from tests.stack.series import Series
from tests.stack.truth import Execution
from tests.support.backend import BackendProcess
from tests.support.stack.alertmanager import AlertmanagerServer
from tests.support.stack.prometheus import PrometheusServer

JOB = "aoss-backend"
ARRIVE_SECONDS = 30.0

# Grows with each push, so that a store which shows more than before has what was pushed since.
PUSHED = "otel_sdk_exporter_metric_data_point_exported_total"


@dataclass(frozen=True)
class FanOut:
    """The series at the end of each path, and /metrics before and after they were read."""

    before: Series
    paths: dict[str, Series]
    after: Series


@dataclass(frozen=True)
class Run:
    """A run of the whole pipeline. Times are in seconds since the epoch.

    The backend began at `begun`. Prometheus saw it at zero at `began`, some executions running at `held`, all
    sixty over at `ended`, and everything that came after at `over`. `fan_outs` are by the phase before them.
    """

    prometheus: PrometheusServer
    alertmanager: AlertmanagerServer
    begun: float
    began: float
    held: Held
    ended: float
    over: float
    executions: list[Execution]
    rows: list[dict[str, Any]]
    fan_outs: dict[str, FanOut]


def fan_out(backend: BackendProcess, deployment: Deployment, prometheus: PrometheusServer) -> FanOut:
    """Read /metrics, wait until every path shows a later push or scrape, and read /metrics again."""
    text = backend.http.get("/metrics").text
    before, identity = series.exposition(text), series.identity(text)
    stores = deployment.stores
    readers: dict[str, Callable[[], Series]] = {
        "file": lambda: series.otlp_file(stores.file, identity),
        "second Collector": lambda: series.otlp_file(stores.second_file, identity),
        "remote write": lambda: series.remote_written(stores.remote_written, identity),
        "VictoriaMetrics": lambda: series.victoria(stores.victoria, identity),
        "scrape": lambda: series.scraped(prometheus, JOB),
    }
    # When a second push since then begins to show, the first one is there as a whole.
    paths: dict[str, Series] = {}
    seen = {name: {_pushed(before)} for name in readers}
    deadline = time.monotonic() + ARRIVE_SECONDS
    # A path on which nothing new arrives in time is judged as it is.
    while (late := [name for name in readers if len(seen[name]) < 3]) and time.monotonic() < deadline:
        time.sleep(0.1)
        for name in late:
            paths[name] = readers[name]()
            seen[name].add(max(_pushed(paths[name]), *seen[name]))
    return FanOut(before, paths, series.exposition(backend.http.get("/metrics").text))


def _pushed(found: Series) -> float:
    return sum(value for (name, _), value in found.items() if name == PUSHED)
