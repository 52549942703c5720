"""Readers, exporters, filters and reservoirs of the official SDK and of others, attached as they are."""

import io
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    Histogram,
)
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from telemetry.sdk import MeterProvider
from telemetry.sdk.reading import ExclusiveMerge
from tests.support.otlp import Received, grpc_receiver, http_receiver
from tests.telemetry.sdk.support_metrics import Worker, drain, provider_in
from tests.telemetry.sdk.support_processes import wait_for


def points(data: MetricsData | None) -> dict[str, list[Any]]:
    """Return the points of each metric."""
    found: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found.setdefault(metric.name, []).extend(metric.data.data_points)
    return found


def values(reader: InMemoryMetricReader) -> dict[str, list[float]]:
    """Return the values of the sums that a reader collects."""
    return {name: [each.value for each in found] for name, found in points(reader.get_metrics_data()).items()}


class Kept(MetricExporter):
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[MetricsData] = []
        self.was_shut_down = 0

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        self.given.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.was_shut_down += 1


class Mine(MetricReader):
    """A reader that is nobody's, pulled or, by `push`, one that exports by itself."""

    def __init__(self, *, push: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.push = push
        self.given: list[MetricsData] = []
        self.was_shut_down = 0

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        self.given.append(metrics_data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.was_shut_down += 1


def test_in_memory_console_and_custom(tmp_path: Path) -> None:
    """An in-memory reader, the console exporter, a custom reader and a custom exporter show the same."""
    text, kept, mine, memory = io.StringIO(), Kept(), Mine(), InMemoryMetricReader()
    readers = [
        memory,
        mine,
        PeriodicExportingMetricReader(ConsoleMetricExporter(out=text), export_interval_millis=60_000),
        PeriodicExportingMetricReader(kept, export_interval_millis=60_000),
    ]
    with provider_in(tmp_path / "m", metric_readers=readers) as provider:
        provider.get_meter("test").create_counter("c").add(3, {"k": "v"})
        assert provider.force_flush()
        found = [*mine.given, kept.given[-1], memory.get_metrics_data()]
        assert [[each.value for each in points(data)["c"]] for data in found] == [[3]] * 3
        assert json.loads(text.getvalue()[text.getvalue().rindex('{\n    "resource_metrics"') :])
        assert '"value": 3' in text.getvalue()
    assert (mine.was_shut_down, kept.was_shut_down) == (1, 1)


@pytest.mark.parametrize(
    ("receiver", "make"),
    [
        (http_receiver, lambda endpoint: HttpExporter(f"{endpoint}/v1/metrics")),
        (grpc_receiver, lambda endpoint: GrpcExporter(endpoint, insecure=True)),
    ],
)
def test_otlp(
    tmp_path: Path,
    receiver: Callable[[], AbstractContextManager[Received]],
    make: Callable[[str], MetricExporter],
) -> None:
    """Over OTLP come all kinds of points, periodically and on demand, and the last state at shutdown."""
    views = [View(instrument_name="e", aggregation=ExponentialBucketHistogramAggregation())]
    with receiver() as received:
        reader = PeriodicExportingMetricReader(make(received.endpoint), export_interval_millis=50)
        with provider_in(tmp_path / "m", views, metric_readers=[reader]) as provider:
            meter = provider.get_meter("test")
            counter = meter.create_counter("c")
            counter.add(2)
            meter.create_histogram("h").record(1.5)
            meter.create_histogram("e").record(3)
            meter.create_gauge("g").set(4)
            meter.create_observable_up_down_counter("o", [lambda _: [Observation(5)]])
            wait_for(lambda: len(received.requests) >= 3)
            provider.force_flush()
            kinds = {
                metric.name: metric.WhichOneof("data")
                for metric in received.requests[-1].resource_metrics[0].scope_metrics[0].metrics
            }
            assert kinds == {
                "c": "sum", "h": "histogram", "e": "exponential_histogram", "g": "gauge", "o": "sum",
            }  # fmt: skip
            counter.add(5)
        (counted,) = (
            metric.sum.data_points[0].as_int
            for metric in received.requests[-1].resource_metrics[0].scope_metrics[0].metrics
            if metric.name == "c"
        )
        assert counted == 7


def test_a_reader_that_comes_later_shows_what_was_before(tmp_path: Path) -> None:
    """What a scrape's aggregations have collected is shown at once; removed, a reader collects nothing."""
    reader = Mine()
    with provider_in(tmp_path / "m") as provider:
        provider.get_meter("test").create_counter("c").add(3)
        provider.add_metric_reader(reader)
        reader.collect()
        assert [each.value for each in points(reader.given[-1])["c"]] == [3]
        provider.remove_metric_reader(reader)
        reader.collect()
        assert (len(reader.given), reader.was_shut_down) == (1, 1)


def test_a_reader_belongs_to_one_provider_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Added twice it is attached once, to another provider not at all; only what is attached is removed."""
    reader = InMemoryMetricReader()
    with (
        provider_in(tmp_path / "m", metric_readers=[reader]) as provider,
        provider_in(tmp_path / "o") as other,
    ):
        provider.add_metric_reader(reader)
        assert "has been registered already!" in caplog.text
        provider.get_meter("test").create_counter("c").add(3)
        assert values(reader) == {"c": [3]}
        with pytest.raises(ValueError, match="in other MeterProvider"):
            other.add_metric_reader(reader)
        other.remove_metric_reader(reader)
        assert "has not been registered!" in caplog.text
        assert values(reader) == {"c": [3]}


def test_a_reader_with_its_own_aggregation(tmp_path: Path) -> None:
    """Two readers with different aggregations each get theirs, and a scrape its own."""
    default = InMemoryMetricReader()
    coarse = InMemoryMetricReader(preferred_aggregation={Histogram: ExplicitBucketHistogramAggregation([1])})
    with provider_in(tmp_path / "m", metric_readers=[default, coarse]) as provider:
        provider.get_meter("test").create_histogram("h").record(3)
        (fine,), (rough,) = (points(each.get_metrics_data())["h"] for each in (default, coarse))
        assert (len(fine.bucket_counts), rough.bucket_counts) == (16, (0, 1))
        assert [len(each.bounds) for each in drain(provider.merge()).streams] == [15]


def test_one_of_several_workers_pushes(tmp_path: Path) -> None:
    """A reader declared push is given nothing while another worker leads; one that pulls always is."""
    push, pull = Mine(push=True), Mine()
    with Worker.started(tmp_path / "m") as leader:
        leader.do(
            "from tests.telemetry.sdk.test_readers import Mine; provider.add_metric_reader(Mine(push=True))"
        )
        leader.do("meter.create_counter('c').add(1); provider.force_flush()")
        with provider_in(tmp_path / "m", metric_readers=[push, pull]) as provider:
            provider.get_meter("test").create_counter("c").add(1)
            provider.force_flush()
            assert (len(push.given), len(pull.given)) == (0, 1)
            leader.kill()
            # At its death, not at the next collection of the reader, which nobody asks for.
            wait_for(lambda: bool(push.given))
            assert [each.value for each in points(push.given[0])["c"]] == [2]


def test_a_point_is_of_the_time_before_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was measured before a point's time is in the point, also what came while others were read."""
    reader = InMemoryMetricReader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        counter = provider.get_meter("test").create_counter("c")
        counter.add(1)
        added: list[int] = []

        merged = ExclusiveMerge.streams

        @contextmanager
        def late(*given: Any) -> Iterator[Any]:
            with merged(*given) as streams:
                # After the cells were read, before the points are made.
                counter.add(1)
                added.append(time.time_ns())
                yield streams

        monkeypatch.setattr(ExclusiveMerge, "streams", late)
        (point,) = points(reader.get_metrics_data())["c"]
        assert point.value == 1
        assert point.start_time_unix_nano <= point.time_unix_nano < added[0]


def test_who_was_shut_down_leads_no_more(tmp_path: Path) -> None:
    """A duty that outlasts the shutdown of its worker does not keep others from leading."""
    first, second = Mine(push=True), Mine(push=True)
    with provider_in(tmp_path / "m", metric_readers=[first]) as provider:
        provider.get_meter("test").create_counter("c").add(1)
    provider._readers.take_over()
    with provider_in(tmp_path / "m", metric_readers=[second]) as other:
        other.force_flush()
        assert [each.value for each in points(second.given[-1])["c"]] == [1]


def test_a_reader_that_fails_is_named(tmp_path: Path) -> None:
    """A flush raises what names the reader that failed, after the others were flushed."""

    class Failing(Mine):
        def _receive_metrics(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("broken")

    failing, working = Failing(), Mine()
    with provider_in(tmp_path / "m", metric_readers=[failing, working]) as provider:
        provider.get_meter("test").create_counter("c").add(1)
        with pytest.raises(Exception, match=r"Failing: RuntimeError\('broken'\)"):
            provider.force_flush()
        assert len(working.given) == 1


def test_a_collection_that_fails_leaves_the_reader_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A periodic reader goes on after collections that failed, which are logged once."""
    kept = Kept()
    with provider_in(
        tmp_path / "m", metric_readers=[PeriodicExportingMetricReader(kept, export_interval_millis=10)]
    ) as provider:
        provider.get_meter("test").create_counter("c").add(1)
        wait_for(lambda: bool(kept.given))
        failures: list[int] = []
        with monkeypatch.context() as broken:

            def fail(*_: Any) -> None:
                failures.append(1)
                raise OSError(24, "Too many open files")

            broken.setattr("telemetry.sdk.readers.collect", fail)
            wait_for(lambda: len(failures) > 2)
        seen = len(kept.given)
        wait_for(lambda: len(kept.given) > seen)
    failed = [record for record in caplog.records if "collection of" in record.getMessage()]
    assert len(failed) == 1


def test_a_merge_left_half_way_blocks_nobody_for_ever(tmp_path: Path) -> None:
    """A collection by the thread that left a scrape suspended fails in its time, and shutdown ends."""
    reader = InMemoryMetricReader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        provider.get_meter("test").create_counter("c").add(1)
        suspended = provider.merge()
        next(suspended)
        begun = time.monotonic()
        with pytest.raises(Exception, match="has not ended in time"):
            reader.collect(timeout_millis=50)
        assert time.monotonic() - begun < 10
        suspended.close()
        assert values(reader) == {"c": [1]}
        suspended = provider.merge()
        next(suspended)
    assert time.monotonic() - begun < 20


def test_a_custom_aggregation_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A subclass of Aggregation cannot be run over several workers: its View is not applied, and logged."""

    class Mean(Aggregation):
        def _create_aggregation(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("never asked")

    reader = InMemoryMetricReader()
    views = [View(instrument_name="c", aggregation=Mean())]
    with provider_in(tmp_path / "m", views, metric_readers=[reader]) as provider:
        provider.get_meter("test").create_counter("c").add(2)
        assert values(reader) == {"c": [2]}
    assert "Mean is not one of the standard aggregations" in caplog.text


def test_readers_measure_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official readers' own metrics are recorded, where switched on, and every reader shows them."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    default = InMemoryMetricReader()
    coarse = InMemoryMetricReader(
        preferred_aggregation={Histogram: ExplicitBucketHistogramAggregation([1.0, 2.0])}
    )
    with provider_in(tmp_path / "m", metric_readers=[default, coarse]) as provider:
        provider.get_meter("test").create_counter("c").add(2)
        default.get_metrics_data()
        name = "otel.sdk.metric_reader.collection.duration"
        for reader in (default, coarse):
            assert sum(each.count for each in points(reader.get_metrics_data())[name]) >= 1


class Slow(Kept):
    """An exporter that takes its time when it is told to, in this process only."""

    def __init__(self) -> None:
        super().__init__()
        self.process = os.getpid()
        self.is_in, self.go_on = threading.Event(), threading.Event()

    def export(self, *given: Any, **more: Any) -> MetricExportResult:
        if os.getpid() == self.process:
            self.is_in.set()
            self.go_on.wait(30)
        return super().export(*given, **more)


@pytest.fixture
def queue() -> Iterator[Any]:
    """Give a queue between forked processes."""
    made = multiprocessing.get_context("fork").SimpleQueue()
    yield made
    made.close()


def test_a_child_forked_while_its_parent_exports_can_export(tmp_path: Path, queue: Any) -> None:
    """The lock that the parent's exporting thread holds is free in the child."""
    slow = Slow()
    reader = PeriodicExportingMetricReader(slow, export_interval_millis=60_000)

    def child() -> None:
        counter.add(1)
        reader._receive_metrics(MetricsData([]))
        queue.put(len(slow.given))

    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        counter = provider.get_meter("test").create_counter("c")
        try:
            counter.add(1)
            assert slow.is_in.wait(20)
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join(10)
            ended = process.exitcode
            if ended is None:
                process.kill()
                process.join(10)
            assert ended == 0
            assert queue.get() == 1
        finally:
            slow.go_on.set()


def test_a_last_export_waits_for_a_leader_that_leaves(tmp_path: Path) -> None:
    """A worker that shuts down while the leader makes its last export, collected before, exports after it."""
    slow, kept = Slow(), Kept()
    leader = MeterProvider(
        [PeriodicExportingMetricReader(slow, export_interval_millis=60_000)],
        directory=tmp_path / "m",
        shutdown_on_exit=False,
    )
    second = MeterProvider(
        [PeriodicExportingMetricReader(kept, export_interval_millis=60_000)],
        directory=tmp_path / "m",
        shutdown_on_exit=False,
    )
    counters = [each.get_meter("test").create_counter("c") for each in (leader, second)]
    counters[0].add(1)
    assert slow.is_in.wait(20)
    slow.go_on.set()
    wait_for(lambda: bool(slow.given))
    slow.is_in.clear()
    slow.go_on.clear()
    leaving = threading.Thread(target=leader.shutdown)
    leaving.start()
    assert slow.is_in.wait(20)
    counters[1].add(1)
    last = threading.Thread(target=second.shutdown)
    last.start()
    time.sleep(0.1)
    slow.go_on.set()
    leaving.join(20)
    last.join(20)
    assert [each.value for each in points(slow.given[-1])["c"]] == [1]
    assert [each.value for each in points(kept.given[-1])["c"]] == [2]
