"""A real VictoriaMetrics, one node."""

from pathlib import Path

from tests.support.backend import free_port
from tests.support.stack.programs import program
from tests.support.stack.promql import QueryServer


class VictoriaServer(QueryServer):
    """A running VictoriaMetrics; `otlp_url` takes OTLP over HTTP."""

    ready_path = "/health"

    @property
    def otlp_url(self) -> str:
        """Return the address to which a Collector's `metrics_endpoint` points."""
        return f"{self.url}/opentelemetry/v1/metrics"

    def flush(self) -> None:
        """Make what has been taken in visible to queries."""
        assert self.http.get("/internal/force_flush").is_success


def running_victoria(data: Path, *flags: str) -> VictoriaServer:
    """Return a VictoriaMetrics for a `with` block, on a free port, with Prometheus' names for OTLP.

    Raises ProgramUnavailableError where the program cannot be had.
    """
    port = free_port()
    command = [
        str(program("victoria-metrics")),
        f"-storageDataPath={data}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-opentelemetry.usePrometheusNaming",
        # Fresh samples are hidden from queries for 30 s by default.
        "-search.latencyOffset=0s",
        *flags,
    ]
    return VictoriaServer(command, port=port, log_path=data.with_name(f"{data.name}-victoria-{port}.log"))
