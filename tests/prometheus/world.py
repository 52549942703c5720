"""A backend and a Prometheus that runs a private copy of the project's configuration at a quicker pace."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.prometheus.files import RUNBOOKS, copy_of_configuration, found, replace
from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.stack.prometheus import PrometheusServer, running_prometheus

API_KEY = "the API key"
TOKEN = "the metrics token"
# Links begin with it. Nobody listens there: tests ask the server itself.
EXTERNAL_URL = "http://prometheus.example"
# What tests change in every copy: the pace, from 15 s to 1 s, and the addresses.
PACE = (("interval: 15s", "interval: 1s"), ("scrape_timeout: 10s", "scrape_timeout: 1s"))


@dataclass(frozen=True)
class World:
    """A backend, the copy of prometheus/, and the Prometheus that runs it."""

    backend: BackendProcess
    copy: Path
    prometheus: PrometheusServer

    def wait_for_target(self, job: str, health: str) -> dict[str, Any]:
        """Wait until the job's only target has a health, and return it."""
        return wait_for_target(self.prometheus, job, health)


def wait_for_target(prometheus: PrometheusServer, job: str, health: str) -> dict[str, Any]:
    """Wait until the job's only target has a health, and return it."""
    # Just after the start there are no targets yet.
    wait_for(lambda: [health] == [each["health"] for each in prometheus.targets().get(job, [])], 30)
    (target,) = prometheus.targets()[job]
    return target


@contextmanager
def aoss_backend(folder: Path, **environment: str) -> Iterator[BackendProcess]:
    """Run a backend with a key and a metrics token."""
    settings = {
        "AOSS_API_KEY": API_KEY,
        "AOSS_METRICS_TOKEN": TOKEN,
        "AOSS_METRICS_CREATED_TIMESTAMPS": "true",
    }
    with running_backend(folder / "aoss", settings | environment) as backend:
        backend.http.headers["Authorization"] = f"Bearer {API_KEY}"
        yield backend


@contextmanager
def world(
    folder: Path, change: Callable[[Path], None] = lambda _: None, **environment: str
) -> Iterator[World]:
    """Run a backend and a Prometheus; `change` may change the copy beforehand. Skips without Prometheus."""
    found("prometheus")
    copy = copy_of_configuration(folder, TOKEN)
    with aoss_backend(folder, **environment) as backend:
        replace(copy / "prometheus.yml", *PACE, ("backend:8000", f"127.0.0.1:{backend.port}"))
        change(copy)
        flags = [f"--web.console.templates={RUNBOOKS}", f"--web.external-url={EXTERNAL_URL}"]
        with running_prometheus(copy / "prometheus.yml", folder / "data", *flags) as prometheus:
            replace(copy / "prometheus.yml", ("localhost:9090", f"127.0.0.1:{prometheus.port}"))
            assert prometheus.process is not None
            prometheus.process.send_signal(signal.SIGHUP)
            yield World(backend, copy, prometheus)
