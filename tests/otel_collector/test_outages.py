"""Stores that are down, a Collector that is killed, queues that are full, memory that is short."""

import time
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.metrics.export import MetricExportResult

from tests.otel_collector.deployment import BASE, FRAGMENTS, Collector, pushing, stored
from tests.support.backend import wait_for
from tests.support.stack.prometheus import PrometheusServer
from tests.support.stack.victoria import VictoriaServer

OK, FAILURE = MetricExportResult.SUCCESS, MetricExportResult.FAILURE


def test_a_killed_collectors_queues_are_sent_whole(
    tmp_path: Path, victoria: VictoriaServer, prometheus: PrometheusServer
) -> None:
    """Every push that was accepted while the stores were down arrives, with a SIGKILL in between."""
    environment = {
        "OTLP_HTTP_ENDPOINT": f"{prometheus.url}/api/v1/otlp",
        "REMOTE_WRITE_ENDPOINT": f"{prometheus.url}/api/v1/write",
        "VICTORIAMETRICS_URL": victoria.url,
    }
    chosen = ("otlp-http", "prometheus-remote-write", "victoriametrics")
    with (
        Collector(
            tmp_path, BASE, *(FRAGMENTS[name] for name in chosen), environment=environment
        ) as collector,
        pushing(collector, "killed") as pusher,
    ):
        victoria.stop()
        prometheus.stop()
        try:
            # More than fits into the batches in flight, so that it is killed with pushes in the queue, too:
            # those in flight then come after them, which Prometheus takes for its out_of_order_time_window.
            pusher.meter.create_counter("bulk", description="x" * 600_000).add(1)
            accepted = []
            for _ in range(5):
                accepted += pusher.push()
                time.sleep(0.3)
            collector.kill()
            collector.start()
            accepted += pusher.push(5)
        finally:
            victoria.start()
            prometheus.start()
        assert accepted == [OK] * 10
        pushes = [float(number) for number in range(1, 11)]
        # Remote write and OTLP are told apart by the scope's label, which Prometheus leaves out of OTLP;
        # there it adds the zero from which the counter started.
        for store, selector, expected in (
            (victoria, 'service_name="killed"', pushes),
            (prometheus, 'job="killed",otel_scope_name="aoss"', pushes),
            (prometheus, 'job="killed",otel_scope_name=""', [0.0, *pushes]),
        ):
            wait_for(lambda one=store, of=selector, all_=expected: stored(one, of) == all_, 30)


def test_a_full_queue_drops_and_says_so(tmp_path: Path, victoria: VictoriaServer) -> None:
    """With one store down and its queue full, pushes are refused and counted, and the other store goes on."""
    environment = {
        "COLLECTOR_QUEUE_BYTES": "1000000",
        "OTLP_HTTP_ENDPOINT": "http://127.0.0.1:1",
        "VICTORIAMETRICS_URL": victoria.url,
    }
    chosen = (FRAGMENTS["otlp-http"], FRAGMENTS["victoriametrics"])
    with (
        Collector(tmp_path, BASE, *chosen, environment=environment) as collector,
        pushing(collector, "full", grpc=False, timeout=1) as pusher,
    ):
        for number in range(4000):
            pusher.meter.create_counter(f"filling.the.queue.with.a.long.name.{number}").add(1)
        dropping, well = {"exporter": "otlp_http"}, {"exporter": "otlp_http/victoriametrics"}
        results = []
        for _ in range(6):
            results += pusher.push()
            wait_for(lambda: collector.own("otelcol_exporter_queue_size", **well) == 0)
        assert results[-1] is FAILURE
        # Refused at once: a queue that blocked would hold the push for as long as its sender waits.
        refused = httpx.post(
            f"{collector.http_endpoint}/v1/metrics",
            content=pusher.request(),
            headers={"content-type": "application/x-protobuf"},
            timeout=20,
            trust_env=False,
        )
        assert refused.status_code == 503
        assert collector.own("otelcol_exporter_enqueue_failed_metric_points", **dropping) >= 4001
        assert collector.own("otelcol_exporter_enqueue_failed_metric_points", **well) == 0
        assert collector.own("otelcol_receiver_refused_metric_points") >= 4001
        assert collector.own("otelcol_exporter_queue_capacity", **dropping) == 1000000
        assert 500000 < collector.own("otelcol_exporter_queue_size", **dropping) <= 1000000
        wait_for(lambda: stored(victoria, 'service_name="full"')[-1:] == [7.0], 30)


def test_a_torn_log_of_remote_write_is_moved_away(tmp_path: Path, prometheus: PrometheusServer) -> None:
    """A torn log keeps the Collector from starting, as the runbook says; without its folder it starts."""
    environment = {"REMOTE_WRITE_ENDPOINT": f"{prometheus.url}/api/v1/write"}
    chosen = FRAGMENTS["prometheus-remote-write"]
    with (
        Collector(tmp_path, BASE, chosen, environment=environment) as collector,
        pushing(collector, "torn") as pusher,
    ):
        prometheus.stop()
        try:
            assert pusher.push(5) == [OK] * 5
            collector.kill()
            log = tmp_path / "remote_write"
            *_, last = sorted(path for path in log.rglob("*") if path.is_file())
            last.write_bytes(last.read_bytes()[:-7])
            with pytest.raises(AssertionError, match="failed to open WAL: log corrupt"):
                collector.start()
            log.rename(tmp_path / "torn")
            collector.start()
        finally:
            prometheus.start()
        assert pusher.push() == [OK]
        wait_for(lambda: stored(prometheus, 'job="torn"') == [6.0], 30)


def test_short_memory_refuses_pushes(tmp_path: Path) -> None:
    """Over its memory limit the Collector refuses what comes, and the SDK sees it fail."""
    limited = "yaml:processors::memory_limiter::limit_mib: 1"
    with (
        Collector(tmp_path, BASE, FRAGMENTS["debug"], limited) as collector,
        pushing(collector, "memory", timeout=1) as pusher,
    ):
        wait_for(lambda: pusher.push() == [FAILURE])
        assert collector.own("otelcol_receiver_refused_metric_points") >= 1


def test_its_own_metrics_have_the_names_that_the_alerts_use(tmp_path: Path, victoria: VictoriaServer) -> None:
    """What the Collector shows of itself has neither suffixes nor units in the names, and counts right."""
    environment = {"OTLP_HTTP_ENDPOINT": f"{victoria.url}/missing", "VICTORIAMETRICS_URL": victoria.url}
    chosen = (FRAGMENTS["otlp-http"], FRAGMENTS["victoriametrics"])
    with (
        Collector(tmp_path, BASE, *chosen, environment=environment) as collector,
        pushing(collector, "own") as pusher,
    ):
        assert pusher.push(3) == [OK] * 3
        good, bad = {"exporter": "otlp_http/victoriametrics"}, {"exporter": "otlp_http"}
        wait_for(lambda: collector.own("otelcol_exporter_sent_metric_points", **good) == 3)
        # A store that answers 400 or 404 is not asked again: those points are lost.
        wait_for(lambda: collector.own("otelcol_exporter_send_failed_metric_points", **bad) == 3)
        assert collector.own("otelcol_receiver_accepted_metric_points", transport="grpc") == 3
        assert collector.own("otelcol_exporter_queue_size", **good) == 0
        assert collector.own("otelcol_exporter_queue_capacity", **good) == 268435456
        assert collector.own("otelcol_process_memory_rss") > 10_000_000
        assert 0 < collector.own("otelcol_process_uptime") < 600
