"""`aoss top --once` against other programs' metrics."""

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.commands.cli.running import aoss
from tests.support.backend import free_port
from tests.support.stack.collector import running_collector
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.prometheus import running_prometheus

COLLECTOR = """\
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:%d"}}}}
exporters: {debug: {}}
extensions: {health_check: {endpoint: "127.0.0.1:%d"}}
service:
  extensions: [health_check]
  pipelines: {metrics: {receivers: [otlp], exporters: [debug]}}
  telemetry:
    metrics:
      readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %d}}}}]
"""


def shown(url: str) -> tuple[str, set[str]]:
    """Return what `aoss top --once` prints of an address, and the names in it."""
    done = aoss("top", "--once", url)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, {line.split()[0] for line in done.stdout.splitlines()[2:] if line}


def test_prometheus(tmp_path: Path) -> None:
    """Of a Prometheus' own metrics every counter, histogram and gauge is there, with the number of series."""
    config = tmp_path / "prometheus.yml"
    config.write_text("{}\n")
    try:
        server = running_prometheus(config, tmp_path / "data")
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
    with server:
        families = list(text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text))
        screen, names = shown(server.url)
    expected = {
        each.name + ("_total" if each.type == "counter" else "")
        for each in families
        if each.type in ("counter", "histogram", "gauge", "unknown")
    }
    assert len(expected) > 100
    assert expected - names == set()
    assert re.search(r"^prometheus_build_info +1 +1$", screen, re.MULTILINE)
    assert not re.search(r"^AGENT", screen, re.MULTILINE)


def test_the_collector(tmp_path: Path) -> None:
    """Of a Collector's own metrics the counters are there."""
    config = tmp_path / "collector.yaml"
    otlp, health, metrics = free_port(), free_port(), free_port()
    config.write_text(COLLECTOR % (otlp, health, metrics))
    try:
        server = running_collector(config, health_port=health, log_path=tmp_path / "log")
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
    with server:
        screen, names = shown(f"http://127.0.0.1:{metrics}")
    assert {"otelcol_process_uptime", "otelcol_process_memory_rss", "target_info"} <= names
    assert re.search(r"^otelcol_process_cpu_seconds +0\.\d+$", screen, re.MULTILINE)
