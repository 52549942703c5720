"""One demo in a real terminal, watched by a real Prometheus, for the tests that judge it."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands.cli.terminal import PROMPT, terminal
from tests.stack.deployment import METRICS_TOKEN, copy_prometheus
from tests.support.backend import BackendProcess, free_port, running_backend
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.prometheus import PrometheusServer, running_prometheus

# Every kind of execution.
EXECUTIONS = 10


@dataclass(frozen=True)
class Watched:
    """A demo that has ended. `increase` is that of /metrics, by name and labels, read by another parser."""

    bar: str
    screen: str
    backend: BackendProcess
    increase: Counter[tuple[str, frozenset[tuple[str, str]]]]
    prometheus: PrometheusServer | None
    without_prometheus: str
    begun: float
    over: float


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run a demo once."""
    folder = tmp_path_factory.mktemp("demo")
    (token := folder / "token").write_text(METRICS_TOKEN)
    environment = {"AOSS_WORKERS": "2", "AOSS_METRICS_TOKEN_FILE": str(token)}
    with ExitStack() as stack:
        backend = stack.enter_context(running_backend(folder / "data", environment))
        backend.http.headers["Authorization"] = f"Bearer {METRICS_TOKEN}"
        prometheus, without_prometheus = None, ""
        try:
            prometheus = stack.enter_context(_prometheus(folder, backend))
        except ProgramUnavailableError as error:
            without_prometheus = str(error)
        begun = time.time()
        if prometheus:
            _wait_for_scrapes(prometheus)
        before = backend.samples()
        window = stack.enter_context(terminal(folder, {"AOSS_METRICS_TOKEN_FILE": str(token)}))
        window.line(f"aoss demo --url {backend.url} --executions {EXECUTIONS}; echo ended: $?")
        bar = window.wait(f" of {EXECUTIONS} ")
        screen = window.wait(lambda text: "\nended: " in text and text.rstrip().endswith(PROMPT), seconds=60)
        after = backend.samples()
        if prometheus:
            _wait_for_scrapes(prometheus)
        increase = Counter({key: round(value - before.get(key, 0)) for key, value in after.items()})
        yield Watched(
            bar, screen, backend, increase, prometheus, without_prometheus, begun=begun, over=time.time()
        )


def _prometheus(folder: Path, backend: BackendProcess) -> PrometheusServer:
    config = folder / "prometheus-config"
    server = running_prometheus(config / "prometheus.yml", folder / "prometheus")
    targets = {"aoss-backend": backend.port, "otel-collector": free_port(), "prometheus": server.port}
    copy_prometheus(config, targets, alertmanager=free_port())
    return server


def _wait_for_scrapes(prometheus: PrometheusServer, seconds: float = 20.0) -> None:
    """Wait until the backend was scraped twice more, so that nothing of before or after is missed."""
    begun = time.time()
    query = 'count_over_time(up{job="aoss-backend"}[1m]) and timestamp(up{job="aoss-backend"})'
    first = sum(sample.value for sample in prometheus.query(query))
    while sum(sample.value for sample in prometheus.query(query)) < first + 2:
        assert time.time() < begun + seconds, prometheus.targets()
        time.sleep(0.1)
