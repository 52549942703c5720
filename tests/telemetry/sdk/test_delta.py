"""Delta readers: every interval once, over workers, leaders and damaged files."""

import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from telemetry.sdk import MeterProvider
from telemetry.sdk.delta import DeltaBase
from telemetry.sdk.merge import Merger
from tests.telemetry.sdk.support_metrics import Worker, provider_in

KINDS = (
    metrics.Counter,
    metrics.UpDownCounter,
    metrics.Histogram,
    metrics.ObservableCounter,
    metrics.ObservableUpDownCounter,
    metrics.ObservableGauge,
    metrics._Gauge,
)


def delta_reader() -> InMemoryMetricReader:
    """Return a reader that asks for delta throughout."""
    return InMemoryMetricReader(preferred_temporality=dict.fromkeys(KINDS, AggregationTemporality.DELTA))


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the one point of each metric that a reader collects."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found: dict[str, Any] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.name not in found
                (found[metric.name],) = metric.data.data_points
    return found


def numbers(reader: InMemoryMetricReader) -> dict[str, float]:
    """Return the values of the sums that a reader collects."""
    return {name: point.value for name, point in collected(reader).items()}


def test_each_interval_comes_once(tmp_path: Path) -> None:
    """A collection gives what was added since the last, from then on, and nothing where nothing was."""
    reader = delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        counter = provider.get_meter("test").create_counter("c")
        assert collected(reader) == {}
        counter.add(2)
        first = collected(reader)["c"]
        counter.add(3)
        counter.add(0.5)
        second = collected(reader)["c"]
        assert [first.value, second.value] == [2, 3.5]
        assert first.time_unix_nano == second.start_time_unix_nano
        assert collected(reader) == {}


def test_a_series_made_during_the_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first interval ends where the next begins, though it started after that."""
    reader = delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        meter = provider.get_meter("test")
        meter.create_counter("before").add(1)
        counter = meter.create_counter("c")
        merge = Merger.merge

        def late(self: Merger) -> Any:
            counter.add(2)
            return (yield from merge(self))

        with monkeypatch.context() as patched:
            patched.setattr(Merger, "merge", late)
            first = collected(reader)["c"]
        counter.add(3)
        second = collected(reader)["c"]
        assert [first.value, second.value] == [2, 3]
        assert first.start_time_unix_nano <= first.time_unix_nano == second.start_time_unix_nano


def test_histograms_have_no_extremes(tmp_path: Path) -> None:
    """Buckets, sum and count are of the interval; its least and largest value are not known."""
    reader = delta_reader()
    views = [View(instrument_name="e", aggregation=ExponentialBucketHistogramAggregation())]
    with provider_in(tmp_path / "m", views, metric_readers=[reader]) as provider:
        meter = provider.get_meter("test")
        histogram, exponential = meter.create_histogram("h"), meter.create_histogram("e")
        for amounts in ((1, 100), (3,)):
            for amount in amounts:
                histogram.record(amount)
                exponential.record(amount)
            found = collected(reader)
            for point in found.values():
                assert (len(amounts), sum(amounts)) == (point.count, point.sum)
                assert (point.min, point.max) == (None, None)
            assert len(amounts) == sum(found["h"].bucket_counts) == sum(found["e"].positive.bucket_counts)
        assert collected(reader) == {}


def test_gauges_and_callbacks(tmp_path: Path) -> None:
    """A gauge comes when it was set again; an observable sum gives the difference, zero included."""
    reader = delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        meter = provider.get_meter("test")
        gauge = meter.create_gauge("g")
        meter.create_observable_counter("oc", [lambda _: [Observation(10)]])
        meter.create_observable_gauge("og", [lambda _: [Observation(5)]])
        gauge.set(1)
        assert numbers(reader) == {"g": 1, "oc": 10, "og": 5}
        assert numbers(reader) == {"oc": 0, "og": 5}
        gauge.set(1)
        assert numbers(reader) == {"g": 1, "oc": 0, "og": 5}


def test_a_kept_interval_is_not_given_again(tmp_path: Path) -> None:
    """What a worker kept as given, killed before it could hand it over, is lost and not doubled."""
    program = (
        "from tests.telemetry.sdk.test_delta import delta_reader; "
        "import os, signal; "
        "reader = delta_reader(); provider.add_metric_reader(reader); "
        "reader._receive_metrics = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL); "
        "counter = meter.create_counter('c'); counter.add(7)"
    )
    with Worker.started(tmp_path / "m") as worker:
        worker.do(program)
        with pytest.raises(AssertionError, match="the worker failed"):
            worker.do("reader.get_metrics_data()")
    reader = delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        assert numbers(reader) == {}
        provider.get_meter("test").create_counter("c").add(1)
        assert numbers(reader) == {"c": 1}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 99}', b"[]", b"\xff\x00"])
def test_a_damaged_file_loses_one_interval(tmp_path: Path, damage: bytes) -> None:
    """Without knowing what was given last nothing is given, rather than everything again."""
    reader = delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        counter = provider.get_meter("test").create_counter("c")
        counter.add(5)
        assert numbers(reader) == {"c": 5}
        counter.add(1)
        (tmp_path / "m" / "delta-1").write_bytes(damage)
        assert numbers(reader) == {}
        counter.add(2)
        assert numbers(reader) == {"c": 2}


def test_what_cannot_be_kept_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no space to keep what was given, the interval is given later, and the reader goes on."""
    reader = delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[reader]) as provider:
        counter = provider.get_meter("test").create_counter("c")
        counter.add(5)
        with monkeypatch.context() as full:

            def refuse(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            full.setattr(DeltaBase, "store", refuse)
            assert numbers(reader) == {}
        assert numbers(reader) == {"c": 5}


def test_readers_do_not_share_what_they_were_given(tmp_path: Path) -> None:
    """A reader that is added when another was removed has its own base, and the others keep theirs."""
    first, second, third = delta_reader(), delta_reader(), delta_reader()
    with provider_in(tmp_path / "m", metric_readers=[first, second]) as provider:
        counter = provider.get_meter("test").create_counter("c")
        counter.add(1)
        assert {"c": 1} == numbers(first) == numbers(second)
        provider.remove_metric_reader(first)
        provider.add_metric_reader(third)
        counter.add(2)
        assert numbers(third) == {"c": 3}
        assert numbers(second) == {"c": 2}


def test_workers_that_collect_at_once_share_the_intervals(tmp_path: Path) -> None:
    """Where each worker's reader collects when asked, none gives what another one gave."""
    providers: list[tuple[MeterProvider, InMemoryMetricReader]] = []
    for _ in range(2):
        reader = delta_reader()
        made = MeterProvider([reader], directory=tmp_path / "m", shutdown_on_exit=False)
        providers.append((made, reader))
    counter = providers[0][0].get_meter("test").create_counter("c")
    given: list[float] = []
    stopping = threading.Event()

    def collect(reader: InMemoryMetricReader) -> None:
        while not stopping.is_set():
            given.append(numbers(reader).get("c", 0))

    threads = [threading.Thread(target=collect, args=(reader,)) for _, reader in providers]
    try:
        for thread in threads:
            thread.start()
        for _ in range(2000):
            counter.add(1)
            stopping.wait(0.0002)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    given += [numbers(reader).get("c", 0) for _, reader in providers]
    assert sum(given) == 2000
    for made, _ in providers:
        made.shutdown()
