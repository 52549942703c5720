"""A bound counter takes floats on its hot path."""

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
