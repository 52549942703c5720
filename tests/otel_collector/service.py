"""A service of its own: counts `pushed` 20 times a second and pushes with an official SDK, as OTEL_* says.

Prints its count when its standard input is closed, after a last push.
"""

import select
import sys

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource


def main() -> None:
    """Count and push until standard input is closed."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], Resource.create())
    counter = provider.get_meter("aoss").create_counter("pushed", unit="{push}")
    count = 0
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        counter.add(1)
        count += 1
    provider.shutdown()
    print(count)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
