"""Callbacks: whatever they do, the others are run, and what is shown is what was observed last."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from telemetry.sdk import MeterProvider, clock, observer
from tests.telemetry.sdk.support_metrics import Worker, key, provider_in, scraped
from tests.telemetry.sdk.support_processes import wait_for

SECOND = 1_000_000_000


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeterProvider]:
    """Give a provider that runs callbacks when it is asked, and not every five seconds too."""
    monkeypatch.setattr(MeterProvider, "_start_duties", lambda _: None)
    with provider_in(tmp_path / "metrics") as made:
        yield made


def giving(*values: Any) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
    """Return callbacks of one observation each, told apart by their number."""

    def one(number: int, value: Any) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(value, {"n": str(number)})]

    return [one(number, value) for number, value in enumerate(values)]


def test_one_that_raises_is_alone(provider: MeterProvider, caplog: pytest.LogCaptureFixture) -> None:
    """The others of the same instrument and of others are stored; the failure is logged once."""

    def fails(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(5, {"n": "before"})
        raise RuntimeError("broken")

    def exits(_: CallbackOptions) -> Iterable[Observation]:
        raise SystemExit

    meter = provider.get_meter("test")
    meter.create_observable_counter("a", [fails, *giving(1)])
    meter.create_observable_counter("b", [exits])
    meter.create_observable_counter("c", giving(2))
    for _ in range(3):
        provider.observe()
    assert {"a": {key(n="before"): 5, key(n="0"): 1}, "c": {key(n="0"): 2}} == scraped(provider)
    assert len([record for record in caplog.records if "a callback of a failed" in record.getMessage()]) == 1


def test_one_that_hangs_is_left_behind(provider: MeterProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds neither the others nor a collection up, is not called again, and its values come at last."""
    monkeypatch.setattr(observer, "CALLBACK_SECONDS", 0.1)
    go_on, calls = threading.Event(), []

    def hangs(_: CallbackOptions) -> Iterable[Observation]:
        calls.append(1)
        go_on.wait(30)
        return [Observation(7)]

    meter = provider.get_meter("test")
    try:
        meter.create_observable_gauge("hangs", [hangs])
        meter.create_observable_gauge("works", giving(1))
        begun = time.monotonic()
        assert not provider.observe(timeout_seconds=20)
        assert not provider.observe(timeout_seconds=20)
        assert time.monotonic() - begun < 10
        assert {"works": {key(n="0"): 1}} == scraped(provider)
        assert calls == [1]
    finally:
        go_on.set()
    wait_for(lambda: scraped(provider).get("hangs") == {key(): 7})
    # Its thread may be about to end.
    wait_for(provider.observe)
    assert len(calls) >= 2


def test_the_time_is_bounded_by_the_caller(provider: MeterProvider) -> None:
    """A collection that may take a moment only does not wait for callbacks that take longer."""
    go_on = threading.Event()

    def slow(_: CallbackOptions) -> Iterable[Observation]:
        go_on.wait(30)
        return []

    provider.get_meter("test").create_observable_gauge("slow", [slow])
    try:
        begun = time.monotonic()
        assert not provider.observe(timeout_seconds=0.05)
        assert time.monotonic() - begun < observer.CALLBACK_SECONDS
    finally:
        go_on.set()


def test_callbacks_may_record_and_create(provider: MeterProvider) -> None:
    """A callback that records, creates instruments, and even scrapes, does what it says."""
    meter = provider.get_meter("test")
    counter = meter.create_counter("counted")

    def busy(_: CallbackOptions) -> Iterable[Observation]:
        counter.add(1)
        meter.create_observable_gauge("created", giving(3))
        scraped(provider)
        return [Observation(2)]

    meter.create_observable_gauge("busy", [busy])
    provider.observe()
    provider.observe()
    assert {
        "counted": {key(): 2},
        "busy": {key(): 2},
        "created": {key(n="0"): 3},
    } == scraped(provider)


def test_generators_are_callbacks(provider: MeterProvider) -> None:
    """A generator is sent the options each time, and gives nothing at its end; a function may yield."""
    received = []

    def twice() -> Generator[Iterable[Observation], CallbackOptions, None]:
        options = yield []
        for number in (1, 2):
            received.append(options.timeout_millis)
            options = yield [Observation(number)]

    def yields(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(4)
        yield Observation(5)

    meter = provider.get_meter("test")
    meter.create_observable_gauge("generator", [twice()])
    meter.create_observable_up_down_counter("yields", [yields])
    found = []
    for _ in range(3):
        provider.observe(timeout_seconds=5)
        found.append(scraped(provider).get("generator"))
    assert [{key(): 1}, {key(): 2}, None] == found
    assert received == [5000.0, 5000.0]
    assert {key(): 9} == scraped(provider)["yields"]


def test_what_is_not_a_finite_number_is_left_out(
    provider: MeterProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """NaN and infinities are refused, other kinds of numbers are numbers, and the rest is a failure."""
    meter = provider.get_meter("test")
    meter.create_observable_counter(
        "odd", giving(float("nan"), float("inf"), Decimal("1.5"), 10**30, Fraction(1, 4), "many", None, 4)
    )
    with caplog.at_level(logging.WARNING):
        provider.observe()
    assert {key(n="2"): 1.5, key(n="3"): 1e30, key(n="4"): 0.25, key(n="7"): 4} == scraped(provider)["odd"]
    logged = [record.getMessage() for record in caplog.records]
    for problem in ("gave nan", "gave inf", "failed"):
        assert len([message for message in logged if problem in message]) == 1


def test_only_what_was_observed_is_reported(provider: MeterProvider) -> None:
    """A set that a callback gives no more is not reported, and is when it comes again."""
    given = [Observation(1, {"k": "a"}), Observation(2, {"k": "b"})]
    for create in ("gauge", "counter", "up_down_counter"):
        getattr(provider.get_meter("test"), f"create_observable_{create}")(create, [lambda _: list(given)])
    provider.observe()
    del given[0]
    provider.observe()
    expected = {key(k="b"): 2}
    assert {"gauge": expected, "counter": expected, "up_down_counter": expected} == scraped(provider)
    given.append(Observation(3, {"k": "a"}))
    provider.observe()
    assert {key(k="a"): 3, key(k="b"): 2} == scraped(provider)["gauge"]
    given.clear()
    provider.observe()
    assert scraped(provider) == {}


def test_old_results_are_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: MeterProvider
) -> None:
    """A gauge three intervals old is not shown though its worker lives; a counter is, of the dead too."""
    with Worker.started(tmp_path / "metrics") as worker:
        for kind in ("counter", "gauge"):
            worker.do(f"meter.create_observable_{kind}('{kind}', [lambda _: [Observation(4)]])")
        worker.do("provider.observe()")
        assert {"counter": {key(): 4}, "gauge": {key(): 4}} == scraped(provider)
        now = time.time_ns
        # Its duty goes on by its own clock; here it is later.
        monkeypatch.setattr(clock, "time_ns", lambda: now() + 16 * SECOND)
        assert {"counter": {key(): 4}} == scraped(provider)
        monkeypatch.setattr(clock, "time_ns", now)
        worker.kill()
    assert {"counter": {key(): 4}} == scraped(provider)
    monkeypatch.setattr(clock, "time_ns", lambda: now() + 1000 * SECOND)
    assert {"counter": {key(): 4}} == scraped(provider)


def test_no_thread_stays(provider: MeterProvider) -> None:
    """A run of the callbacks leaves no thread behind."""
    provider.get_meter("test").create_observable_gauge("works", giving(1))
    provider.observe()
    before = threading.active_count()
    for _ in range(10):
        provider.observe()
    wait_for(lambda: threading.active_count() <= before)


def test_without_a_thread_callbacks_are_run(provider: MeterProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, as at the end of the interpreter, the caller runs the callbacks."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    provider.get_meter("test").create_observable_gauge("works", giving(1))
    provider.observe()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert provider.observe()
    assert {"works": {key(n="0"): 1}} == scraped(provider)
