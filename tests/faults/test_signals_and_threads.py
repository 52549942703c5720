"""Recording in signal handlers and in many threads, and what recording costs in memory, files and threads."""

import contextlib
import gc
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from telemetry.sdk import MeterProvider, store
from tests.faults.support_signals import WAYS, total
from tests.telemetry.sdk.support_metrics import key, provider_in, scraped
from tests.telemetry.sdk.support_processes import output

THREADS = 6


@pytest.mark.parametrize("way", [*WAYS, "registration", "shutdown"])
def test_a_signal_handler_may_do_anything(way: str, tmp_path: Path) -> None:
    """A handler that records wherever its thread is neither hangs nor loses, nor counts anything twice."""
    assert output([sys.executable, "-m", "tests.faults.support_signals", way, str(tmp_path), "1"]) == []


def in_threads(body: Callable[[int], None]) -> None:
    """Run a function in many threads at once, which take turns much more often than usual."""
    failed: list[BaseException] = []
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> None:
        barrier.wait(20)
        try:
            body(number)
        except BaseException as problem:  # noqa: BLE001 - raised again below
            failed.append(problem)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert not failed, failed
    assert not any(thread.is_alive() for thread in threads)


def test_threads_lose_nothing(tmp_path: Path) -> None:
    """Threads that record into all kinds of instruments, series old and new, are counted exactly."""
    views = [View(instrument_name="wide", aggregation=ExponentialBucketHistogramAggregation(max_size=8))]
    with provider_in(tmp_path, views) as provider:
        meter: Any = provider.get_meter("m")
        bound = meter.create_counter("bound").bind({"k": "v"})
        rounds = 400

        def record(thread: int) -> None:
            values = random.Random(thread)  # noqa: S311 - any will do
            for number in range(rounds):
                attributes = {"k": str(number % 50)}
                bound.add(1)
                meter.create_counter("ints").add(1, attributes)
                meter.create_counter("floats").add(0.25, attributes)
                meter.create_up_down_counter("both").add(1 if number % 2 else -0.5, attributes)
                meter.create_histogram("explicit").record(number % 8, attributes)
                meter.create_histogram("wide").record(2.0 ** values.randrange(-99, 99), attributes)
                meter.create_counter("new").add(1, {"thread": str(thread), "number": str(number)})

        in_threads(record)
        found = scraped(provider)
    every = THREADS * rounds
    assert found["bound"] == {key(k="v"): every}
    assert found["ints"] == {key(k=str(number)): every // 50 for number in range(50)}
    assert found["floats"] == {key(k=str(number)): every / 200 for number in range(50)}
    assert total(found, "both") == every / 4
    assert [every // 50] * 50 == [value.count for value in found["explicit"].values()]
    assert sum(value.sum for value in found["explicit"].values()) == every * 3.5
    assert [every // 50] * 50 == [value.count for value in found["wide"].values()]
    assert every == total(found, "new")
    assert len(found["new"]) == 2001  # the limit, and the overflow


def test_threads_share_a_series(tmp_path: Path) -> None:
    """Threads that do nothing but record into one series are counted exactly, by each path."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
        add, record = counter.bind({"k": "v"}).add, histogram.bind({"k": "v"}).record
        rounds = 10_000

        def measure(_: int) -> None:
            for _ in range(rounds):
                counter.add(1, {"k": "v"})
                counter.add(0.5, {"k": "v"})
                histogram.record(1, {"k": "v"})
                add(1)
                record(1)

        in_threads(measure)
        found = scraped(provider)
        assert found["c"][key(k="v")] == THREADS * rounds * 2.5
        value = found["h"][key(k="v")]
        assert (value.count, value.sum) == (THREADS * rounds * 2, THREADS * rounds * 2)


def growth(record: Callable[[int], None]) -> int:
    """Return by how many bytes Python's memory grows when something is done 3,000 times more."""
    for number in range(3000):
        record(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(3000, 6000):
            record(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", ["overflow", "filtered", "long", "unhashable", "bound"])
def test_memory_does_not_grow_with_attribute_values(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values without end cost no memory: not past the limit, and not where a View filters them."""
    views = [View(instrument_name="filtered", attribute_keys={"k"})]
    # So many spellings of attribute sets are known beside the series; each may take some hundred bytes.
    monkeypatch.setattr(store, "_MOST_ALIASES", 256)
    most = 500_000
    with provider_in(tmp_path, views) as provider:
        meter: Any = provider.get_meter("m")
        counter = meter.create_counter(case)
        record: dict[str, Callable[[int], None]] = {
            "overflow": lambda number: counter.add(1, {"path": f"/{number}", "k": "v"}),
            "filtered": lambda number: counter.add(1, {"path": f"/{number}", "k": "v"}),
            "long": lambda number: counter.add(1, {"path": f"{number:05}" * 1000}),
            "unhashable": lambda number: counter.add(1, {"path": [f"/{number}", "x"]}),
            "bound": lambda number: counter.bind({"path": f"/{number}"}).add(1),
        }
        grown = growth(record[case])
        assert scraped(provider)[case]
    assert grown < most


def test_providers_leave_nothing(tmp_path: Path) -> None:
    """Two hundred providers, made, used and shut down, leave no descriptor, thread, or file."""

    def left() -> tuple[int, int, int, int]:
        gc.collect()
        maps = Path("/proc/self/maps").read_text("utf-8").count(".segment")
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        return descriptors, threading.active_count(), maps, len(list(tmp_path.iterdir()))

    def use(number: int, directory: Path | None) -> Path:
        resource = Resource({"service.name": "hygiene", "number": number})
        provider = MeterProvider(resource=resource, directory=directory, shutdown_on_exit=number % 2 == 0)
        with contextlib.ExitStack() as stack:
            stack.callback(provider.shutdown)
            meter = provider.get_meter("m")
            meter.create_counter("c").add(1)
            meter.create_observable_gauge("g", [lambda _: []])
            assert scraped(provider)["c"] == {key(): 1}
            return provider._run.path

    # A command that is running is no child that may go on to measure.
    with subprocess.Popen(["sleep", "60"]) as command:
        use(0, None)
        before = left()
        runs = {use(number, None) for number in range(1, 200)}
        after = left()
        command.kill()
    # Fewer are left where a thread of an earlier test has ended meanwhile.
    assert [more for more, there in zip(after, before, strict=True) if more > there] == []
    assert [path for path in runs if path.exists()] == []
    named = tmp_path / "named"
    for number in range(10):
        use(number, named / str(number))
    # What they recorded stays where they were told to put it, and in few files.
    assert all(len(list(each.iterdir())) < 10 for each in named.iterdir())
