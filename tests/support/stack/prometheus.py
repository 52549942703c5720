"""A real Prometheus."""

from pathlib import Path
from typing import Any

from tests.support.backend import free_port
from tests.support.stack.programs import program
from tests.support.stack.promql import Labels, QueryServer

FEATURES = "exemplar-storage,created-timestamp-zero-ingestion"


class PrometheusServer(QueryServer):
    """A running Prometheus."""

    def targets(self) -> dict[str, list[dict[str, Any]]]:
        """Return the active targets by job; each has `health`, `lastError` and `scrapeUrl` among others."""
        found: dict[str, list[dict[str, Any]]] = {}
        for target in self.get("/api/v1/targets", state="active")["data"]["activeTargets"]:
            found.setdefault(target["labels"]["job"], []).append(target)
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule that is loaded."""
        return [rule for group in self.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        alerts: list[dict[str, Any]] = self.get("/api/v1/alerts")["data"]["alerts"]
        return alerts

    def exemplars(self, promql: str, start: float, end: float) -> list[tuple[Labels, list[dict[str, Any]]]]:
        """Return the series of a query with their exemplars."""
        answer = self.get("/api/v1/query_exemplars", query=promql, start=start, end=end)
        return [(each["seriesLabels"], each["exemplars"]) for each in answer["data"]]


def running_prometheus(config: Path, data: Path, *flags: str) -> PrometheusServer:
    """Return a Prometheus for a `with` block, with the project's feature flags and a free port.

    Raises ProgramUnavailableError where the program cannot be had.
    """
    port = free_port()
    command = [
        str(program("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--enable-feature={FEATURES}",
        *flags,
    ]
    return PrometheusServer(command, port=port, log_path=data.with_name(f"{data.name}-prometheus-{port}.log"))
