"""Many hosts: an agent on each, a gateway that feeds the store."""

from pathlib import Path

from opentelemetry.sdk.metrics.export import MetricExportResult

from tests.otel_collector.certificate import make_certificate
from tests.otel_collector.deployment import BASE, FRAGMENTS, LISTEN, TLS, Collector, pushing, stored
from tests.support.backend import wait_for
from tests.support.stack.victoria import VictoriaServer

OK = MetricExportResult.SUCCESS


def test_two_agents_and_a_gateway(tmp_path: Path, victoria: VictoriaServer) -> None:
    """Each agent's pushes reach the store through a gateway with token and TLS, though it is killed."""
    made = make_certificate(tmp_path)
    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / "headers.yaml").write_text("Authorization: Bearer a-token\n")
    gateway = Collector(
        tmp_path / "gateway",
        BASE,
        LISTEN,
        TLS,
        FRAGMENTS["victoriametrics"],
        environment={
            "COLLECTOR_TLS_CERT_FILE": str(made.certificate),
            "COLLECTOR_TLS_KEY_FILE": str(made.key),
            "COLLECTOR_TOKEN_FILE": str(tmp_path / "token"),
            "VICTORIAMETRICS_URL": victoria.url,
        },
    )
    port = gateway.grpc.rpartition(":")[2]
    of_agents = {
        "OTLP_GRPC_ENDPOINT": f"dns:///localhost:{port}",
        "OTLP_GRPC_HEADERS": f"${{file:{tmp_path}/headers.yaml}}",
        "SSL_CERT_FILE": str(made.certificate),
    }
    fragment = FRAGMENTS["otlp-grpc"]
    with (
        gateway,
        Collector(tmp_path / "one", BASE, fragment, environment=of_agents) as one,
        Collector(tmp_path / "two", BASE, fragment, environment=of_agents) as two,
        pushing(one, "host-one") as first,
        pushing(two, "host-two") as second,
    ):
        assert first.push(3) == [OK] * 3
        assert second.push(5) == [OK] * 5
        victoria.stop()
        try:
            assert first.push(3) == [OK] * 3
            wait_for(lambda: gateway.own("otelcol_receiver_accepted_metric_points") == 11)
            gateway.kill()
            assert second.push(5) == [OK] * 5
            gateway.start()
        finally:
            victoria.start()
        expected_first = [float(number) for number in range(1, 7)]
        expected_second = [float(number) for number in range(1, 11)]
        wait_for(lambda: stored(victoria, 'service_name="host-one"') == expected_first, 40)
        wait_for(lambda: stored(victoria, 'service_name="host-two"') == expected_second, 40)
