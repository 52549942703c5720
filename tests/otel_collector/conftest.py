"""The stores that the Collector feeds: started once, told apart by the pushing service's name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack.programs import ProgramUnavailableError, program
from tests.support.stack.prometheus import PrometheusServer, running_prometheus
from tests.support.stack.victoria import VictoriaServer, running_victoria

# A queue that was cut short by a SIGKILL is sent with its first requests last.
PROMETHEUS = "storage: {tsdb: {out_of_order_time_window: 30m}}\n"
RECEIVERS = ("--web.enable-remote-write-receiver", "--web.enable-otlp-receiver")


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Skip what needs a program that cannot be had."""
    try:
        for name in ("otelcol", "prometheus", "victoria-metrics"):
            program(name)
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def victoria(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaServer]:
    """Run a VictoriaMetrics."""
    with running_victoria(tmp_path_factory.mktemp("victoria") / "data") as server:
        yield server


def receiving_prometheus(folder: Path) -> PrometheusServer:
    """Return a Prometheus for a `with` block that takes remote write and OTLP."""
    config = folder / "prometheus.yml"
    config.write_text(PROMETHEUS)
    return running_prometheus(config, folder / "data", *RECEIVERS)


@pytest.fixture(scope="session")
def prometheus(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Run a Prometheus that takes remote write and OTLP."""
    with receiving_prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server
