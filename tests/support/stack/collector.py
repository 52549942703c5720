"""A real OpenTelemetry Collector."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack.programs import program
from tests.support.stack.promql import Sample
from tests.support.stack.running import Server


class CollectorServer(Server):
    """A running Collector; `port` is that of its health check."""

    ready_path = "/"

    def own_metrics(self, url: str) -> list[Sample]:
        """Return the samples that it shows of itself at an address."""
        text = self.http.get(url).text
        names = set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE))

        def served(name: str) -> str:
            # The parser gives every counter the suffix that the Collector is told to leave out.
            return name if name in names else name.removesuffix("_total")

        return [
            Sample(sample.labels | {"__name__": served(sample.name)}, sample.value, 0.0)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]


def running_collector(
    *configs: Path | str,
    health_port: int,
    log_path: Path,
    environment: Mapping[str, str] | None = None,
) -> CollectorServer:
    """Return a Collector for a `with` block; the configurations are merged in their order.

    `environment` is added to this process's own. Raises ProgramUnavailableError where the program cannot be
    had.
    """
    command = [str(program("otelcol")), *(f"--config={config}" for config in configs)]
    return CollectorServer(
        command, port=health_port, log_path=log_path, environment=dict(os.environ) | dict(environment or {})
    )
