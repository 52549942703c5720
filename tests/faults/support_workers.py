"""A service of several workers that count without pause and export: run as a program of its own."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from tests.telemetry.sdk.support_processes import line_of, started

WORKERS = 3
COUNTER = "counted"
HISTOGRAM = "measured"


class Service:
    """The running service, seen from a test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.workers = [int(line_of(process)) for _ in range(WORKERS)]

    @classmethod
    @contextmanager
    def started(cls, method: str, **options: Any) -> Iterator[Self]:
        """Start a service whose workers are forked or spawned; it ends with the block."""
        command = [sys.executable, "-m", "tests.faults.support_workers", method, json.dumps(options)]
        with started(command) as process:
            yield cls(process)

    def counted(self) -> int:
        """Return how much the workers know to be counted."""
        return self._ask("count")

    def least(self) -> int:
        """Return how much the worker that counted least knows to have counted."""
        return self._ask("least")

    def stop(self) -> int:
        """Let all workers shut down at once, wait for that, and return what they know to be counted."""
        return self._ask("stop")

    def _ask(self, what: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return int(line_of(self._process))


def work(number: int, acknowledged: Any, options: Mapping[str, Any]) -> None:
    """Count until told to stop."""
    # Here, not above: gRPC is not to be loaded before a fork.
    from opentelemetry.sdk import metrics  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        AggregationTemporality,
        MetricExporter,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    from telemetry.sdk import MeterProvider  # noqa: PLC0415
    from tests.faults.support_collector import SENDER  # noqa: PLC0415

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    delta = AggregationTemporality.DELTA
    common: dict[str, Any] = {
        "endpoint": options["endpoint"],
        "headers": {SENDER: str(os.getpid())},
        "preferred_temporality": dict.fromkeys((metrics.Counter, metrics.Histogram), delta)
        if options.get("delta")
        else None,
    }
    exporter: MetricExporter
    if options.get("grpc"):
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as over_grpc  # noqa: PLC0415

        exporter = over_grpc.OTLPMetricExporter(insecure=True, **common)
    else:
        from opentelemetry.exporter.otlp.proto.http import metric_exporter as over_http  # noqa: PLC0415

        exporter = over_http.OTLPMetricExporter(**common)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=options["interval_millis"])],
        resource=Resource.create({"service.name": "counting", "process.pid": os.getpid()}),
        directory=options["directory"],
    )
    meter = provider.get_meter("workers")
    counter, histogram = meter.create_counter(COUNTER), meter.create_histogram(HISTOGRAM)
    counter.add(1)
    acknowledged[number] += 1
    if options.get("flush"):
        provider.force_flush()
    while not stopping.wait(0.002):
        histogram.record(0.5 + number)
        counter.add(1)
        acknowledged[number] += 1
    provider.shutdown()


def say(number: int) -> None:
    """Write a line at once."""
    os.write(1, f"{number}\n".encode())


def main() -> None:
    """Start the workers, print their pids, and answer."""
    context: Any = multiprocessing.get_context(sys.argv[1])
    acknowledged = context.Array("q", WORKERS, lock=False)
    options = json.loads(sys.argv[2])
    workers = [
        context.Process(target=work, args=(number, acknowledged, options), daemon=True)
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
        say(worker.pid)
    for line in sys.stdin:
        if line == "stop\n":
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join(20)
        say(min(acknowledged) if line == "least\n" else sum(acknowledged))


if __name__ == "__main__":
    main()
