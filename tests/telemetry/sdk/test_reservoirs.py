"""Exemplar filters and reservoirs of others, attached as they are."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Exemplar,
    ExemplarFilter,
    ExemplarReservoir,
    SimpleFixedSizeExemplarReservoir,
)
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View

from tests.telemetry.sdk.support_metrics import Worker, provider_in
from tests.telemetry.sdk.test_readers import points, values


class OnlyLarge(ExemplarFilter):
    """A filter that samples large values."""

    def should_sample(self, value: float, *_: Any) -> bool:
        return value > 10


def test_a_custom_exemplar_filter(tmp_path: Path) -> None:
    """A filter of one's own decides by the value; one that raises samples nothing and harms nobody."""

    class Raising(ExemplarFilter):
        def should_sample(self, *_: Any) -> bool:
            raise RuntimeError("broken")

    for chosen, expected in ((OnlyLarge(), [20]), (Raising(), [])):
        reader = InMemoryMetricReader()
        name = type(chosen).__name__
        with provider_in(tmp_path / name, metric_readers=[reader], exemplar_filter=chosen) as provider:
            histogram = provider.get_meter("test").create_histogram("h")
            histogram.record(2)
            histogram.record(20)
            (point,) = points(reader.get_metrics_data())["h"]
            assert point.count == 2
            assert expected == [each.value for each in point.exemplars]


class Largest(ExemplarReservoir):
    """A reservoir that keeps the largest value of each collection."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.kept: Exemplar | None = None

    def offer(self, value: float, time_unix_nano: int, attributes: Any, context: Any) -> None:
        if self.kept is None or value > self.kept.value:
            self.kept = Exemplar(dict(attributes or {}), value, time_unix_nano, 1, 2)

    def collect(self, point_attributes: Any) -> list[Exemplar]:
        kept, self.kept = self.kept, None
        return [] if kept is None else [kept]


def largest(_: Any) -> Callable[..., Largest]:
    """Return what makes reservoirs, for any aggregation."""
    return Largest


def three(_: Any) -> Callable[..., SimpleFixedSizeExemplarReservoir]:
    """Return what makes reservoirs of three places."""
    return partial(SimpleFixedSizeExemplarReservoir, size=3)


def test_custom_reservoirs(tmp_path: Path) -> None:
    """The reservoirs of a View keep what they choose; several per series, and ids, come through."""
    views = [
        View(instrument_name="h", exemplar_reservoir_factory=largest),
        View(
            instrument_name="c",
            attribute_keys={"k"},
            exemplar_reservoir_factory=three,
        ),
    ]
    reader = InMemoryMetricReader()
    with provider_in(
        tmp_path / "m", views, metric_readers=[reader], exemplar_filter=AlwaysOnExemplarFilter()
    ) as provider:
        meter = provider.get_meter("test")
        histogram, counter = meter.create_histogram("h"), meter.create_counter("c")
        for amount in (1, 30, 2):
            histogram.record(amount)
            counter.add(amount, {"k": "v", "id": str(amount)})
        found = points(reader.get_metrics_data())
        ((exemplar,),) = (point.exemplars for point in found["h"])
        assert (exemplar.value, exemplar.span_id, exemplar.trace_id) == (30, 1, 2)
        (point,) = found["c"]
        assert {each.value: each.filtered_attributes["id"] for each in point.exemplars} == {
            1: "1",
            30: "30",
            2: "2",
        }
        assert [{"id"}] * 3 == [set(each.filtered_attributes) for each in point.exemplars]
        histogram.record(4)
        found = points(reader.get_metrics_data())
        assert [each.value for point in found["h"] for each in point.exemplars] == [4]
        assert [each.value for point in found["c"] for each in point.exemplars] == []


def test_reservoirs_are_of_each_worker(tmp_path: Path) -> None:
    """What the reservoirs of all workers kept is shown by each of them."""
    view = "View(instrument_name='h', exemplar_reservoir_factory=largest)"
    views = [View(instrument_name="h", exemplar_reservoir_factory=largest)]
    reader = InMemoryMetricReader()
    with (
        Worker.started(tmp_path / "m") as worker,
        provider_in(
            tmp_path / "m", views, metric_readers=[reader], exemplar_filter=AlwaysOnExemplarFilter()
        ) as provider,
    ):
        worker.do("from tests.telemetry.sdk.test_reservoirs import *")
        worker.do(
            f"other = MeterProvider(directory=sys.argv[1], views=[{view}], "
            "exemplar_filter=AlwaysOnExemplarFilter())"
        )
        worker.do("other.get_meter('test').create_histogram('h').record(50); other.observe()")
        provider.get_meter("test").create_histogram("h").record(3)
        (point,) = points(reader.get_metrics_data())["h"]
        assert {3, 50} == {each.value for each in point.exemplars}


def test_a_reservoir_that_fails_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Factories and reservoirs that raise are logged, once each, and what is measured is counted."""

    def raises(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    views = [
        View(instrument_name="one", exemplar_reservoir_factory=raises),
        View(instrument_name="two", exemplar_reservoir_factory=lambda _: raises),
    ]
    reader = InMemoryMetricReader()
    with provider_in(
        tmp_path / "m", views, metric_readers=[reader], exemplar_filter=AlwaysOnExemplarFilter()
    ) as provider:
        for name in ("one", "two"):
            counter = provider.get_meter("test").create_counter(name)
            counter.add(1)
            counter.add(2)
        assert values(reader) == {"one": [3], "two": [3]}
    assert len([each for each in caplog.records if "an exemplar reservoir failed" in each.getMessage()]) == 1
    assert len([each for each in caplog.records if "reservoir_factory failed" in each.getMessage()]) == 1
