"""A store is down for a minute, and the Collector is killed meanwhile: at the end every number is whole."""

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.otel_collector.deployment import BASE, FRAGMENTS, Collector, stored, stored_times
from tests.support.backend import environment_of_tests, wait_for
from tests.support.stack.prometheus import PrometheusServer
from tests.support.stack.victoria import VictoriaServer

DOWN_SECONDS = 60.0
# What passes between two pushes that arrive: half a second, but for the Collector's death and a slow machine.
GAP_SECONDS = 15.0
LAG = "otelcol_exporter_prometheusremotewrite_wal_lag"


@pytest.mark.timeout(180)
def test_a_store_is_down_for_a_minute_and_the_collector_is_killed(
    tmp_path: Path, victoria: VictoriaServer, prometheus: PrometheusServer
) -> None:
    """A service that pushes all the time finds its last count in each store, and no minute is missing."""
    environment = {
        "REMOTE_WRITE_ENDPOINT": f"{prometheus.url}/api/v1/write",
        "VICTORIAMETRICS_URL": victoria.url,
    }
    chosen = (FRAGMENTS["prometheus-remote-write"], FRAGMENTS["victoriametrics"])
    stores = ((victoria, 'service_name="minute"'), (prometheus, 'job="minute"'))
    with Collector(tmp_path, BASE, *chosen, environment=environment) as collector:
        service = subprocess.Popen(
            [sys.executable, "-m", "tests.otel_collector.service"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_of_tests()
            | {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.grpc}",
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
                "OTEL_SERVICE_NAME": "minute",
            },
        )
        try:
            for store, selector in stores:
                wait_for(lambda one=store, of=selector: stored(one, of) != [], 30)
            victoria.stop()
            prometheus.stop()
            down = time.monotonic()
            try:
                time.sleep(DOWN_SECONDS / 2)
                # What AossCollectorLogGrowing watches.
                assert collector.own(LAG, exporter="prometheus_remote_write") > 0
                collector.kill()
                collector.start()
                time.sleep(down + DOWN_SECONDS - time.monotonic())
            finally:
                victoria.start()
                prometheus.start()
            answer, _ = service.communicate("", timeout=30)
        finally:
            service.kill()
            service.wait(timeout=10)
        count = float(answer)
        assert count > 10 * DOWN_SECONDS
        for store, selector in stores:
            wait_for(lambda one=store, of=selector: stored(one, of)[-1:] == [count], 40)
            # The queue is sent oldest first; what a SIGKILL had in flight comes last.
            wait_for(lambda one=store, of=selector: longest_gap(stored_times(one, of)) < GAP_SECONDS, 40)
            assert stored(store, selector) == sorted(stored(store, selector))


def longest_gap(times: list[float]) -> float:
    """Return the most seconds between two samples."""
    return max((after - before for before, after in itertools.pairwise(times)), default=0.0)
