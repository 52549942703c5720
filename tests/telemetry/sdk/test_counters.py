"""The hot paths of counters and histograms, and who interrupts them."""

import math
from pathlib import Path
from typing import Any

import pytest

from telemetry.exposition.once import exposition
from telemetry.sdk import MeterProvider


def test_a_bound_counter_adds_floats_without_looking_the_series_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first float, floats and ints are added without the slow path.

    What is no amount is dropped.
    """
    provider = MeterProvider(directory=tmp_path)
    counter: Any = provider.get_meter("m").create_counter("c")
    bound = counter.bind({"k": "v"})
    bound.add(1)
    bound.add(0.5)
    slow: list[Any] = []
    monkeypatch.setattr(counter, "_record", lambda amount, *_: slow.append(amount))
    for amount in (1, 0.25, 2, math.inf, math.nan, -1.0, -1):
        bound.add(amount)
    assert str(slow) == "[inf, nan, -1.0, -1]"
    assert 'c_total{k="v"} 4.75' in exposition(provider)[0].decode()
    provider.shutdown()


class _Interrupting:
    """A lock at whose release a signal handler raises."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Raise as a handler would that runs when the lock was let go."""
        raise TimeoutError("of the application")


def test_what_a_signal_handler_raises_is_not_swallowed_and_counts_nothing_twice(tmp_path: Path) -> None:
    """An exception that comes right after the commit goes to the application, and the amount counts once."""
    provider = MeterProvider(directory=tmp_path)
    counter: Any = provider.get_meter("m").create_counter("c")
    histogram: Any = provider.get_meter("m").create_histogram("h")
    counter.add(1)
    histogram.record(1)
    counter._lock = histogram._store.lock = _Interrupting()
    for record in (counter.add, histogram.record, histogram.bind().record):
        with pytest.raises(TimeoutError, match="of the application"):
            record(1)
    text = exposition(provider)[0].decode()
    assert "\nc_total 2\n" in text
    assert "\nh_count 3\n" in text
    provider.shutdown()
