"""A real Alertmanager."""

from pathlib import Path
from typing import Any

from tests.support.backend import free_port
from tests.support.stack.programs import program
from tests.support.stack.running import Server


class AlertmanagerServer(Server):
    """A running Alertmanager."""

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it holds; `status` says which are suppressed."""
        alerts: list[dict[str, Any]] = self.get("/api/v2/alerts")
        return alerts


def running_alertmanager(config: Path, data: Path, *flags: str) -> AlertmanagerServer:
    """Return an Alertmanager without a cluster, for a `with` block, on a free port.

    Raises ProgramUnavailableError where the program cannot be had.
    """
    port = free_port()
    command = [
        str(program("alertmanager")),
        f"--config.file={config}",
        f"--storage.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        *flags,
    ]
    return AlertmanagerServer(
        command, port=port, log_path=data.with_name(f"{data.name}-alertmanager-{port}.log")
    )
