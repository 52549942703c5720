"""A collector that is away, slow, unwilling or broken: whoever measures does not notice."""

import gc
import logging
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped] # no stubs among the locked packages
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.metrics import Counter
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader

from telemetry.sdk import MeterProvider
from telemetry.sdk.snapshot import SegmentReader
from tests.faults.support_collector import Collector, grpc_collector, http_collector

Start = Callable[..., AbstractContextManager[Collector]]

COUNT_SECONDS = 0.25
TIMEOUT_SECONDS = 0.2


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Log nothing: the exporters report every failure, and pytest would keep the reports."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def exporter(collector: Collector, start: Start) -> MetricExporter:
    """Return an official exporter that gives up soon."""
    if start is grpc_collector:
        return GrpcExporter(endpoint=collector.endpoint, insecure=True, timeout=TIMEOUT_SECONDS)
    return HttpExporter(endpoint=collector.endpoint, timeout=TIMEOUT_SECONDS)


@contextmanager
def exporting(
    directory: Path, official: MetricExporter, interval_millis: float = 20
) -> Iterator[MeterProvider]:
    """Give a provider that exports without pause, and does not wait long for its last export."""
    reader = PeriodicExportingMetricReader(official, export_interval_millis=interval_millis)
    provider = MeterProvider([reader], directory=directory / "metrics", shutdown_on_exit=False)
    try:
        yield provider
    finally:
        try:
            provider.shutdown(timeout_millis=2000)
        except Exception:  # noqa: BLE001 - it may be that of a collector that hangs
            assert "Periodic" in type(reader).__name__


def count(counter: Counter) -> int:
    """Count as fast as can be for a fixed time, and return how often."""
    end = time.monotonic() + COUNT_SECONDS
    done = 0
    while time.monotonic() < end:
        counter.add(1, {"k": "v"})
        done += 1
    return done


def first_after(collector: Collector, instant: int) -> float:
    """Return the counter's value in the first export that was collected after an instant."""
    number = 1
    while True:
        arrival = collector.wait(number)
        points = arrival.points("counted")
        if points and points[0].time_unix_nano > instant:
            return arrival.value("counted")
        number += 1


@pytest.mark.parametrize(
    ("start", "answer"),
    [
        (http_collector, 400),
        (http_collector, 503),
        (http_collector, "hang"),
        (http_collector, "garbage"),
        (grpc_collector, grpc.StatusCode.UNAVAILABLE),
        (grpc_collector, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (grpc_collector, grpc.StatusCode.INTERNAL),
        (grpc_collector, "hang"),
    ],
)
def test_an_unwilling_collector_slows_nobody(tmp_path: Path, start: Start, answer: Any) -> None:
    """Counting goes on as fast while exports fail, and the first one that succeeds again carries it all."""
    with start() as collector, exporting(tmp_path, exporter(collector, start)) as provider:
        counter = provider.get_meter("test").create_counter("counted")
        willing = count(counter)
        collector.wait(1)
        collector.answer = answer
        deadline = time.monotonic() + 20
        while collector.refused == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        unwilling = count(counter)
        assert unwilling > willing / 10
        collector.answer = None
        collector.let_go()
        assert willing + unwilling == first_after(collector, time.time_ns())


@pytest.mark.parametrize("start", [http_collector, grpc_collector])
def test_a_collector_that_is_down_slows_nobody(tmp_path: Path, start: Start) -> None:
    """Counting goes on while nobody listens, and the first export to one who does carries it all."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    away = Collector()
    away.endpoint = f"http://127.0.0.1:{port}" + ("/v1/metrics" if start is http_collector else "")
    with exporting(tmp_path, exporter(away, start)) as provider:
        counter = provider.get_meter("test").create_counter("counted")
        counted = count(counter)
        with start(port) as collector:
            instant = time.time_ns()
            # Once more, while it tries.
            counted += count(counter)
            again = time.time_ns()
            assert counted >= first_after(collector, instant)
            assert counted == first_after(collector, again)


def test_failing_exports_keep_nothing(tmp_path: Path) -> None:
    """Memory does not grow with the number of exports that fail: nothing waits to be sent."""
    with http_collector() as collector:
        collector.answer = 400
        official = exporter(collector, http_collector)
        with exporting(tmp_path, official, interval_millis=60_000) as provider:
            counter = provider.get_meter("test").create_counter("counted")

            def fail(times: int) -> int:
                for number in range(times):
                    counter.add(1, {"k": str(number % 50)})
                    provider.force_flush(timeout_millis=20_000)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            fail(60)
            tracemalloc.start()
            try:
                before = fail(30)
                after = fail(150)
            finally:
                tracemalloc.stop()
            assert collector.refused >= 240
            assert after - before < 100_000


def heartbeat(directory: Path) -> int:
    """Return when the one worker showed last that it lives."""
    (path,) = (directory / "metrics").glob("*.segment")
    reader = SegmentReader(path)
    try:
        return reader.heartbeat
    finally:
        reader.close()


class Hanging(MetricExporter):
    """An exporter that hangs in every call until it is let go."""

    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self.collector = collector

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> Any:
        self.collector.hang()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        self.collector.hang()
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.collector.hang()


def test_a_hanging_exporter_holds_nobody_up(tmp_path: Path) -> None:
    """Flush and shutdown end in their time where an exporter hangs, and the heartbeat goes on meanwhile."""
    collector = Collector()
    try:
        with exporting(tmp_path, Hanging(collector)) as provider:
            counter = provider.get_meter("test").create_counter("counted")
            counter.add(1)
            begun = time.monotonic()
            with pytest.raises(Exception, match="PeriodicExportingMetricReader: TimeoutError"):
                provider.force_flush(timeout_millis=300)
            assert time.monotonic() - begun < 10
            first = heartbeat(tmp_path)
            deadline = time.monotonic() + 20
            while heartbeat(tmp_path) == first:
                assert time.monotonic() < deadline, "the heartbeat has stopped"
                time.sleep(0.05)
            counter.add(1)
            begun = time.monotonic()
            with pytest.raises(Exception, match="PeriodicExportingMetricReader"):
                provider.shutdown(timeout_millis=300)
            assert time.monotonic() - begun < 10
            provider.shutdown()
    finally:
        collector.let_go()
