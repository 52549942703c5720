"""The items of the specification's checklist that both SDKs are to keep, a test for each that names it."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, NoOpMeter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from tests.conformance.conftest import shared_memory_factory
from tests.conformance.run import SECOND, ProviderFactory, stopped_clock

DEFAULT_BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
OVERFLOW = {"otel.metric.overflow": True}


def metrics(reader: InMemoryMetricReader) -> dict[str, Any]:
    """What a reader collects now, by name in lower case."""
    data = reader.get_metrics_data()
    return {
        metric.name.lower(): metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    """The data points of one metric, collected now."""
    found = metrics(reader)
    return list(found[name].data.data_points) if name in found else []


def values(reader: InMemoryMetricReader, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
    """The values of one metric by attributes, collected now."""
    return {tuple(sorted((each.attributes or {}).items())): each.value for each in points(reader, name)}


def test_item_01_a_provider_carries_a_resource_and_is_independent(provider_factory: ProviderFactory) -> None:
    """Two providers show each its own resource and its own numbers."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    for amount, reader in enumerate(readers, 1):
        resource = Resource({"service.name": f"service {amount}"})
        provider = provider_factory(metric_readers=[reader], resource=resource)
        provider.get_meter("lib").create_counter("c").add(amount)
    collected = [reader.get_metrics_data() for reader in readers]
    assert [
        (each.resource_metrics[0].resource.attributes["service.name"], getattr(point, "value", None))
        for each in collected
        if each is not None
        for point in each.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    ] == [("service 1", 1), ("service 2", 2)]


def test_item_02_an_invalid_meter_name_is_logged(
    provider_factory: ProviderFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """A meter without a name is one that can be used, and the log says so."""
    provider = provider_factory(metric_readers=[InMemoryMetricReader()])
    with caplog.at_level(logging.WARNING):
        provider.get_meter("").create_counter("c").add(1)
    assert len(caplog.records) == 1


def test_item_03_names_and_units_have_a_syntax(provider_factory: ProviderFactory) -> None:
    """The longest name and unit are kept as they are, the unit with its case; without one it is empty."""
    reader = InMemoryMetricReader()
    meter = provider_factory(metric_readers=[reader]).get_meter("lib")
    name = "a" + "b_./-" * 50 + "1234"
    meter.create_counter(name, unit="U" * 63).add(1)
    meter.create_counter("plain").add(1)
    assert len(name) == 255
    found = metrics(reader)
    assert {each: (metric.unit, metric.description) for each, metric in found.items()} == {
        name: ("U" * 63, ""),
        "plain": ("", ""),
    }


def test_item_04_names_are_case_insensitive(provider_factory: ProviderFactory) -> None:
    """Two spellings of a name are one instrument."""
    reader = InMemoryMetricReader()
    meter = provider_factory(metric_readers=[reader]).get_meter("lib")
    meter.create_counter("requestCount").add(1)
    meter.create_counter("RequestCOUNT").add(2)
    assert values(reader, "requestcount") == {(): 3}


def test_item_05_identity(provider_factory: ProviderFactory) -> None:
    """Equal declarations aggregate together; one with another description goes on beside them."""
    reader = InMemoryMetricReader()
    meter = provider_factory(metric_readers=[reader]).get_meter("lib")
    meter.create_counter("c", description="one").add(1)
    meter.create_counter("c", description="one").add(2)
    meter.create_counter("c", description="other").add(4)
    data = reader.get_metrics_data()
    assert data is not None
    assert sorted(
        (metric.description, getattr(point, "value", None))
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    ) == [("one", 3), ("other", 4)]


def test_item_05_a_conflict_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A duplicate that differs is logged, an equal one is not; the official SDK says nothing of either."""
    provider = shared_memory_factory(tmp_path)(metric_readers=[], shutdown_on_exit=False)
    meter = provider.get_meter("lib")
    with caplog.at_level(logging.WARNING):
        meter.create_counter("c", description="one")
        meter.create_counter("c", description="one")
        assert caplog.records == []
        meter.create_up_down_counter("C", description="one")
    provider.shutdown()
    assert len(caplog.records) == 1


def test_item_06_seven_instruments(provider_factory: ProviderFactory) -> None:
    """Each kind of instrument gives its kind of data."""
    reader = InMemoryMetricReader()
    meter = provider_factory(metric_readers=[reader]).get_meter("lib")
    observed = [lambda _: [Observation(7)]]
    meter.create_counter("counter").add(1)
    meter.create_up_down_counter("up_down").add(-1)
    meter.create_histogram("histogram").record(2)
    meter.create_gauge("gauge").set(3)
    meter.create_observable_counter("o_counter", observed)
    meter.create_observable_up_down_counter("o_up_down", observed)
    meter.create_observable_gauge("o_gauge", observed)
    found = metrics(reader)
    assert {
        name: (type(each.data).__name__, getattr(each.data, "is_monotonic", None))
        for name, each in found.items()
    } == {
        "counter": ("Sum", True),
        "up_down": ("Sum", False),
        "histogram": ("Histogram", None),
        "gauge": ("Gauge", None),
        "o_counter": ("Sum", True),
        "o_up_down": ("Sum", False),
        "o_gauge": ("Gauge", None),
    }


def test_item_07_aggregations(provider_factory: ProviderFactory) -> None:
    """A View chooses among drop, sum, last value, explicit and exponential histogram."""
    reader = InMemoryMetricReader()
    chosen = {
        "dropped": DropAggregation(),
        "summed": SumAggregation(),
        "last": LastValueAggregation(),
        "explicit": ExplicitBucketHistogramAggregation([1]),
        "exponential": ExponentialBucketHistogramAggregation(),
    }
    views = [View(instrument_name=name, aggregation=each) for name, each in chosen.items()]
    meter = provider_factory(metric_readers=[reader], views=views).get_meter("lib")
    for name in chosen:
        histogram = meter.create_histogram(name)
        histogram.record(2)
        histogram.record(2)
    assert {name: type(each.data).__name__ for name, each in metrics(reader).items()} == {
        "summed": "Sum",
        "last": "Gauge",
        "explicit": "Histogram",
        "exponential": "ExponentialHistogram",
    }
    assert values(reader, "summed") == {(): 4}
    assert values(reader, "last") == {(): 2}
    assert [point.scale for point in points(reader, "exponential")] == [20]


def test_item_08_buckets_contain_their_upper_bound(provider_factory: ProviderFactory) -> None:
    """The default bounds are the specification's, a value on a bound is below it, extremes are kept."""
    reader = InMemoryMetricReader()
    histogram = provider_factory(metric_readers=[reader]).get_meter("lib").create_histogram("h")
    for value in (0, 5, 5.5, 10000, 10001):
        histogram.record(value)
    (point,) = points(reader, "h")
    assert tuple(point.explicit_bounds) == DEFAULT_BOUNDS
    assert point.bucket_counts == (1, 1, 1, *[0] * 11, 1, 1)
    assert (point.count, point.sum, point.min, point.max) == (5, 20011.5, 0, 10001)


def test_item_09_advisory_bounds(provider_factory: ProviderFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Advised bounds are used unless a View sets them; invalid ones logged and ignored; the first stay."""
    reader = InMemoryMetricReader()
    view = View(instrument_name="viewed", aggregation=ExplicitBucketHistogramAggregation([7]))
    meter = provider_factory(metric_readers=[reader], views=[view]).get_meter("lib")
    meter.create_histogram("advised", explicit_bucket_boundaries_advisory=[1, 2]).record(1)
    meter.create_histogram("advised", explicit_bucket_boundaries_advisory=[3]).record(1)
    meter.create_histogram("viewed", explicit_bucket_boundaries_advisory=[1, 2]).record(1)
    with caplog.at_level(logging.WARNING):
        meter.create_histogram("invalid", explicit_bucket_boundaries_advisory=["x"]).record(1)
    assert len(caplog.records) >= 1
    found = metrics(reader)
    assert {
        name: tuple(point.explicit_bounds) for name, each in found.items() for point in each.data.data_points
    } == {"advised": (1, 2), "viewed": (7,), "invalid": DEFAULT_BOUNDS}


def test_item_10_views_select_and_change(provider_factory: ProviderFactory) -> None:
    """A View applies where all of its criteria do, and sets name, description and attribute keys."""
    reader = InMemoryMetricReader()
    view = View(
        instrument_type=Counter,
        instrument_name="c",
        instrument_unit="s",
        meter_name="lib",
        meter_version="1",
        meter_schema_url="https://example.org",
        name="renamed",
        description="described",
        attribute_keys={"kept"},
    )
    provider = provider_factory(metric_readers=[reader], views=[view])
    matching = ("lib", "1", "https://example.org")
    for scope in (matching, ("other", *matching[1:]), ("lib", "2", matching[2]), (*matching[:2], "else")):
        counter = provider.get_meter(*scope).create_counter("c", unit="s")
        counter.add(1, {"kept": "a", "dropped": "b"})
    data = reader.get_metrics_data()
    assert data is not None
    assert sorted(
        (scope.scope.name, scope.scope.version, metric.name, metric.description, len(point.attributes or {}))
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ) == [
        ("lib", "1", "c", "", 2),
        ("lib", "1", "renamed", "described", 1),
        ("lib", "2", "c", "", 2),
        ("other", "1", "c", "", 2),
    ]


def test_item_11_views_apply_independently(provider_factory: ProviderFactory) -> None:
    """Two Views give two streams; one that makes no sense for the instrument is ignored."""
    reader = InMemoryMetricReader()
    views = [
        View(instrument_name="*", attribute_keys=set()),
        View(instrument_name="c", name="second"),
        View(instrument_name="o", name="senseless", aggregation=ExplicitBucketHistogramAggregation()),
    ]
    meter = provider_factory(metric_readers=[reader], views=views).get_meter("lib")
    meter.create_counter("c").add(2, {"a": "b"})
    meter.create_observable_counter("o", [lambda _: [Observation(3)]])
    assert set(metrics(reader)) == {"c", "second", "o"}
    assert values(reader, "c") == {(): 2}
    assert values(reader, "second") == {(("a", "b"),): 2}


def test_item_12_synchronous_points_persist(provider_factory: ProviderFactory) -> None:
    """A counter is reported when it did not move; an observable only where it was observed."""
    reader = InMemoryMetricReader()
    reports = iter([[Observation(1, {"k": "a"})], [Observation(2, {"k": "b"})]])
    with stopped_clock() as clock:
        meter = provider_factory(metric_readers=[reader]).get_meter("lib")
        meter.create_observable_gauge("o", [lambda _: next(reports, [])])
        meter.create_counter("c").add(1)
        seen = []
        for _ in range(2):
            clock.now += SECOND
            found = metrics(reader)
            seen.append(
                {
                    name: [dict(p.attributes or {}) for p in each.data.data_points]
                    for name, each in found.items()
                }
            )
    assert seen == [{"c": [{}], "o": [{"k": "a"}]}, {"c": [{}], "o": [{"k": "b"}]}]


def test_item_13_a_start_never_changes(provider_factory: ProviderFactory) -> None:
    """The start of a cumulative series is its first measurement, at every collection."""
    reader = InMemoryMetricReader()
    with stopped_clock() as clock:
        counter = provider_factory(metric_readers=[reader]).get_meter("lib").create_counter("c")
        clock.now += SECOND
        begun = clock.now
        starts = []
        for _ in range(3):
            counter.add(1)
            clock.now += SECOND
            starts += [point.start_time_unix_nano for point in points(reader, "c")]
    assert starts == [begun] * 3


def test_item_14_cardinality(provider_factory: ProviderFactory) -> None:
    """A View's limit beats the reader's; the overflow comes on top; earlier sets persist; nothing is lost."""
    reader = InMemoryMetricReader(cardinality_limits={Counter: 3})
    views = [View(instrument_name="viewed", aggregation_cardinality_limit=1)]
    meter = provider_factory(metric_readers=[reader], views=views).get_meter("lib")
    for name in ("viewed", "read"):
        counter = meter.create_counter(name)
        for key in (0, 1, 2, 3, 4, 0):
            counter.add(1, {"k": key})
    overflow = (("otel.metric.overflow", True),)
    assert values(reader, "viewed") == {(("k", 0),): 2, overflow: 4}
    assert values(reader, "read") == {(("k", 0),): 2, (("k", 1),): 1, (("k", 2),): 1, overflow: 2}


def test_item_15_callbacks_share_a_timestamp(provider_factory: ProviderFactory) -> None:
    """All points of a callback have one time; a callback that raises does not take others with it."""
    reader = InMemoryMetricReader()
    meter = provider_factory(metric_readers=[reader]).get_meter("lib")

    def fails(_: CallbackOptions) -> Iterable[Observation]:
        raise RuntimeError("on purpose")

    def reports(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(1, {"k": "a"}), Observation(2, {"k": "b"})]

    meter.create_observable_counter("o", [fails, reports])
    found = points(reader, "o")
    assert (len(found), len({point.time_unix_nano for point in found})) == (2, 1)


def test_item_16_readers_do_not_disturb_each_other(provider_factory: ProviderFactory) -> None:
    """A delta and a cumulative reader each see their own numbers; a reader belongs to one provider."""
    delta = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})
    cumulative = InMemoryMetricReader()
    counter = provider_factory(metric_readers=[delta, cumulative]).get_meter("lib").create_counter("c")
    seen = []
    for _ in range(2):
        counter.add(1)
        seen.append((values(delta, "c"), values(cumulative, "c")))
    assert seen == [({(): 1}, {(): 1}), ({(): 1}, {(): 2})]
    with pytest.raises(Exception, match="has been registered already"):
        provider_factory(metric_readers=[delta])


def test_item_17_exemplars(provider_factory: ProviderFactory) -> None:
    """Always-on keeps each bucket's last measurement with its filtered attributes; always-off keeps none."""
    kept = {}
    for exemplar_filter in (AlwaysOnExemplarFilter(), AlwaysOffExemplarFilter()):
        reader = InMemoryMetricReader()
        provider = provider_factory(
            metric_readers=[reader],
            exemplar_filter=exemplar_filter,
            views=[View(instrument_type=Histogram, attribute_keys={"kept"})],
        )
        histogram = provider.get_meter("lib").create_histogram("h")
        for value in (1, 2, 7):
            histogram.record(value, {"kept": "a", "filtered": value})
        (point,) = points(reader, "h")
        kept[type(exemplar_filter)] = sorted(
            (each.value, dict(each.filtered_attributes or {})) for each in point.exemplars
        )
    assert kept == {
        AlwaysOnExemplarFilter: [(2, {"filtered": 2}), (7, {"filtered": 7})],
        AlwaysOffExemplarFilter: [],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_item_19_what_is_no_number_corrupts_no_sum(provider_factory: ProviderFactory, value: float) -> None:
    """NaN and infinities are dropped by every instrument."""
    reader = InMemoryMetricReader()
    meter = provider_factory(metric_readers=[reader]).get_meter("lib")
    calls = [
        meter.create_counter("c").add,
        meter.create_up_down_counter("u").add,
        meter.create_gauge("g").set,
        meter.create_histogram("h").record,
    ]
    for call in calls:
        call(1)
        call(value)
    assert [values(reader, name) for name in "cug"] == [{(): 1}] * 3
    assert [(point.count, point.sum) for point in points(reader, "h")] == [(1, 1)]


def test_item_20_shutdown_once(provider_factory: ProviderFactory, caplog: pytest.LogCaptureFixture) -> None:
    """After shutdown meters do nothing, and shutting down again only warns."""
    provider = provider_factory(metric_readers=[InMemoryMetricReader()])
    provider.get_meter("lib").create_counter("c").add(1)
    provider.shutdown()
    with caplog.at_level(logging.WARNING):
        assert isinstance(provider.get_meter("lib"), NoOpMeter)
        provider.shutdown()
    assert len(caplog.records) == 2
