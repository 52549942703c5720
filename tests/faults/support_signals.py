"""A program whose signal handler records, a thousand times a second, while its main thread records as well.

It ends with status 0 if nothing was lost, nor counted twice. Arguments: a way, a directory, seconds.
"""

import faulthandler
import logging
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from telemetry.sdk import MeterProvider
from tests.telemetry.sdk.support_metrics import key, scraped

Recorder = Callable[[int], None]
Ways = dict[str, Callable[[Any], tuple[Recorder, Recorder]]]
"""By way: from a meter to what the main thread and what the handler does at each of its turns."""

_HANG_SECONDS = 20.0


def same_series(meter: Any) -> tuple[Recorder, Recorder]:
    """Record the same series, which are there, in both."""
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")

    def record(_: int) -> None:
        counter.add(1, {"k": "v"})
        histogram.record(0.5, {"k": "v"})

    return record, record


def bound(meter: Any) -> tuple[Recorder, Recorder]:
    """Record by bound instruments, made in the handler, too."""
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
    add, record = counter.bind({"k": "v"}).add, histogram.bind({"k": "v"}).record

    def in_main(number: int) -> None:
        counter.add(1, {"k": str(number % 1000)})
        histogram.record(0.5, {"k": str(number % 1000)})

    def in_handler(number: int) -> None:
        if number % 2:
            add(1)
            record(0.5)
        else:
            counter.bind({"k": str(number)}).add(1)
            histogram.bind({"k": str(number)}).record(0.5)

    return in_main, in_handler


def new_series(meter: Any) -> tuple[Recorder, Recorder]:
    """Make new series, and beyond the limit overflow, in both."""
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")

    def record(number: int, who: str) -> None:
        attributes = {"k": str(number), "who": who}
        counter.add(1, attributes)
        # The caller may go on to use its mapping for something else.
        attributes["k"] = "changed"
        histogram.record(0.5, {"k": str(number), "who": who})

    return lambda number: record(number, "main"), lambda number: record(number, "handler")


def unusual_numbers(meter: Any) -> tuple[Recorder, Recorder]:
    """Record numbers whose arithmetic is written in Python, into series that are there."""
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
    half = Fraction(1, 2)

    def record(number: int) -> None:
        counter.add(1, {"k": "v"})
        histogram.record(half if number % 4 else Fraction(number, 4), {"k": "v"})

    return record, lambda number: record(1)


def no_hot_path(meter: Any) -> tuple[Recorder, Recorder]:
    """Record an exponential histogram, a gauge and a float, and ask for instruments."""
    histogram, gauge = meter.create_histogram("exponential"), meter.create_gauge("g")

    def record(number: int) -> None:
        histogram.record(2.0 ** (number % 60 - 30), {"k": str(number % 50)})
        gauge.set(number, {"k": str(number % 50)})
        meter.create_counter(f"c{number % 50}").add(1)
        meter.create_counter("h_of").add(1.5)

    return record, record


WAYS: Ways = {
    "same series": same_series,
    "bound": bound,
    "new series": new_series,
    "unusual numbers": unusual_numbers,
    "no hot path": no_hot_path,
}


def run(way: str, provider: MeterProvider, seconds: float) -> int:
    """Let both record for so long, and return how often they did."""
    in_main, in_handler = WAYS[way](provider.get_meter("signals"))
    handled = 0
    end = time.monotonic() + seconds

    def handler(*_: object) -> None:
        nonlocal handled
        in_handler(handled)
        handled += 1
        # Each signal asks for the next: on a slow machine handlers would interrupt each other without end.
        if time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, 0.001)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    recorded = 0
    while time.monotonic() < end:
        in_main(recorded)
        recorded += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert handled > 10 * seconds, f"the handler ran {handled} times"
    return recorded + handled


def interrupt_registration(provider: MeterProvider) -> int:
    """Record wherever a handler may run while a series is made, and return how often there was a record."""
    counter: Any = provider.get_meter("signals").create_counter("c")
    interrupted = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal interrupted
        if Path(frame.f_code.co_filename).name != "worker.py":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            interrupted += 1
            counter.add(1, {"handler": str(interrupted % 100)})
            counter.bind({"handler": "bound"})
        return trace

    sys.settrace(trace)
    try:
        for number in range(20):
            counter.add(1, {"main": str(number)})
    finally:
        sys.settrace(None)
    return 20 + interrupted


def shut_down(provider: MeterProvider, failed: list[object]) -> None:
    """Shut down in a handler, while the main thread makes series, and see that both end."""
    counter = provider.get_meter("signals").create_counter("c")
    is_over = False

    def handler(*_: object) -> None:
        nonlocal is_over
        try:
            provider.shutdown(timeout_millis=5000)
        except BaseException as problem:  # noqa: BLE001 - the call that it interrupts would not let it through
            failed.append(problem)
        is_over = True

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    number = 0
    while not is_over:
        counter.add(1, {"k": str(number)})
        number += 1
    counter.add(1, {"k": "late"})


def total(found: dict[str, dict[Any, Any]], *names: str) -> float:
    """Return the sum of the values, or of the counts, of all series of some metrics."""
    values = [value for name in names for value in found[name].values()]
    return sum(value if isinstance(value, int | float) else value.count for value in values)


def main(way: str, directory: str, seconds: str) -> None:
    """Run one way."""
    # A deadlock shows where, and ends.
    faulthandler.dump_traceback_later(float(seconds) + _HANG_SECONDS, exit=True)
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider(directory=Path(directory), views=views)
    if way == "shutdown":
        failed: list[object] = []
        handler = logging.Handler(logging.ERROR)
        handler.emit = failed.append  # type: ignore[assignment]
        logging.getLogger("telemetry").addHandler(handler)
        for number in range(20):
            shut_down(MeterProvider(directory=Path(directory, str(number))), failed)
        assert not failed, failed
        return
    if way == "registration":
        expected = interrupt_registration(provider)
        assert expected == total(scraped(provider), "c")
        provider.shutdown()
        return
    expected = run(way, provider, float(seconds))
    found = scraped(provider)
    if way == "no hot path":
        counters = [name for name in found if name.startswith("c")]
        assert (expected, expected, expected * 1.5) == (
            total(found, *counters),
            total(found, "exponential"),
            total(found, "h_of"),
        ), {name: total(found, name) for name in found}
        assert len(found["g"]) == 50
    else:
        assert expected == total(found, "c")
        assert expected == total(found, "h")
        assert key(k="changed", who="handler") not in found["c"]
    provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
