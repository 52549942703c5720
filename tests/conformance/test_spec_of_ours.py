"""Items of the specification's checklist that only our SDK keeps, or that need time and threads."""

import ast
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View

from telemetry.sdk import MeterProvider
from telemetry.sdk.counters import Counter
from telemetry.sdk.store import Store
from tests.conformance.conftest import shared_memory_factory
from tests.conformance.run import ProviderFactory
from tests.conformance.test_spec_checklist import values

TESTS = Path(__file__).parent.parent
ITEMS = 32


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., MeterProvider]]:
    """Make providers of ours; those made are shut down in the end."""
    factory = shared_memory_factory(tmp_path)
    made: list[MeterProvider] = []

    def remember(**keywords: Any) -> MeterProvider:
        made.append(cast("MeterProvider", factory(shutdown_on_exit=False, **keywords)))
        return made[-1]

    yield remember
    for provider in made:
        provider.shutdown()


def test_item_18_enabled_is_false_where_every_view_drops(make: Callable[..., MeterProvider]) -> None:
    """Whoever would compute something only to record it can ask whether it would be kept."""
    provider = make(views=[View(instrument_name="dropped*", aggregation=DropAggregation())])
    meter = provider.get_meter("m")
    assert not cast("Counter", meter.create_counter("dropped.counter")).enabled
    assert cast("Counter", meter.create_counter("kept.counter")).enabled


def test_item_18_a_bound_instrument_looks_nothing_up(
    make: Callable[..., MeterProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first amount a bound counter goes straight to its cell."""
    reader = InMemoryMetricReader()
    counter = cast("Counter", make(metric_readers=[reader]).get_meter("m").create_counter("c"))
    bound = counter.bind({"a": "b"})
    bound.add(1)

    def looked_up(*_: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(Store, "record", looked_up)
    monkeypatch.setattr(Store, "cell", looked_up)
    counter._cells = cast("Any", None)
    bound.add(2)
    assert values(reader, "c") == {(("a", "b"),): 3}


def test_item_18_the_limit_is_checked_at_bind(make: Callable[..., MeterProvider]) -> None:
    """What is bound past the limit adds to the overflow, and what was bound before keeps its place.

    Once something was measured: what only binds, as before a fork, makes no files.
    """
    reader = InMemoryMetricReader()
    provider = make(
        metric_readers=[reader], views=[View(instrument_name="c", aggregation_cardinality_limit=1)]
    )
    meter = provider.get_meter("m")
    meter.create_counter("other").add(1)
    counter = cast("Counter", meter.create_counter("c"))
    first, second = counter.bind({"n": 1}), counter.bind({"n": 2})
    second.add(5)
    first.add(1)
    assert values(reader, "c") == {(("n", 1),): 1, (("otel.metric.overflow", True),): 5}


def test_item_20_all_of_it_is_safe_under_concurrency(provider_factory: ProviderFactory) -> None:
    """Threads that create, record, collect and flush at once lose nothing and raise nothing."""
    reader = InMemoryMetricReader()
    provider = provider_factory(metric_readers=[reader])
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(200):
                meter = provider.get_meter("m")
                meter.create_counter("c").add(1, {"n": step % 7})
                meter.create_histogram("h").record(step, {"n": number})
                if step % 40 == 0:
                    reader.get_metrics_data()
                    provider.force_flush()
        except BaseException as problem:  # noqa: BLE001 - told by the assertion
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sum(values(reader, "c").values()) == 6 * 200


class _Slow(MetricExporter):
    """An exporter that takes longer than the interval, and notes whether two exports ran at once."""

    def __init__(self) -> None:
        super().__init__()
        self.exports = 0
        self.at_once = 0
        self._running = threading.Semaphore(1)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Take a while."""
        if not self._running.acquire(blocking=False):
            self.at_once += 1
            return MetricExportResult.FAILURE
        time.sleep(0.05)
        self.exports += 1
        self._running.release()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Have nothing to flush."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Have nothing to close."""


def test_item_21_the_periodic_reader_exports_one_at_a_time(provider_factory: ProviderFactory) -> None:
    """The official reader keeps its interval on either SDK, and no two exports overlap."""
    exporter = _Slow()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=10)
    provider = provider_factory(metric_readers=[reader])
    provider.get_meter("m").create_counter("c").add(1)
    flushing = [threading.Thread(target=provider.force_flush) for _ in range(3)]
    for thread in flushing:
        thread.start()
    for thread in flushing:
        thread.join()
    deadline = time.monotonic() + 20
    while exporter.exports < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert exporter.at_once == 0


def test_item_21_the_defaults_of_the_periodic_reader() -> None:
    """A minute between exports, thirty seconds for each."""
    reader = PeriodicExportingMetricReader(_Slow())
    assert (reader._export_interval_millis, reader._export_timeout_millis) == (60_000, 30_000)
    reader.shutdown()


def test_every_item_has_a_test_that_names_it() -> None:
    """Of the items 1 to 32 none is without a test whose name or docstring has its number."""
    named: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                in_name = re.search(r"_item_(\d+)_", node.name)
                named |= {int(in_name[1])} if in_name else set()
                in_text = re.match(r"Items? ([\d, and]+):", ast.get_docstring(node) or "")
                named |= {int(number) for number in re.findall(r"\d+", in_text[1])} if in_text else set()
    assert sorted(set(range(1, ITEMS + 1)) - named) == []
