"""From Views and readers to streams."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DefaultAggregation,
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from telemetry.sdk import PullReader
from telemetry.sdk.definition import AggregationSpec, StreamDefinition
from telemetry.sdk.merged import DataKind, HistogramValue
from telemetry.sdk.views import DEFAULT_BOUNDS, ReaderConfig, definitions, valid_bounds
from tests.telemetry.sdk.support_metrics import key, provider_in, scraped

PULL = ReaderConfig.of(PullReader())


def instrument(tmp_path: Path, kind: str, **options: Any) -> Any:
    """Return an instrument of a kind, named as it."""
    with provider_in(tmp_path) as provider:
        return getattr(provider.get_meter("m", "1"), f"create_{kind}")(kind, **options)


def streams(tmp_path: Path, kind: str, *views: View, **options: Any) -> list[StreamDefinition]:
    """Return the streams of an instrument for a reader with the defaults."""
    return definitions(instrument(tmp_path, kind, **options), views, [PULL])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("counter", DataKind.SUM),
        ("up_down_counter", DataKind.SUM),
        ("histogram", DataKind.HISTOGRAM),
        ("gauge", DataKind.GAUGE),
        ("observable_counter", DataKind.SUM),
        ("observable_up_down_counter", DataKind.SUM),
        ("observable_gauge", DataKind.GAUGE),
    ],
)
def test_without_a_view_an_instrument_has_its_default(tmp_path: Path, kind: str, expected: DataKind) -> None:
    """Without a View there is one stream, of the kind's default aggregation and the reader's limit."""
    (stream,) = streams(tmp_path, kind)
    assert (stream.aggregation.kind, stream.name, stream.view, stream.limit) == (expected, kind, None, 2000)


def test_every_matching_view_makes_a_stream(tmp_path: Path) -> None:
    """Views apply independently of each other; one that does not match makes none."""
    views = [
        View(instrument_name="counter", name="renamed", description="another"),
        View(instrument_name="other"),
        View(instrument_name="co*", attribute_keys={"b", "a"}, aggregation_cardinality_limit=5),
    ]
    found = streams(tmp_path, "counter", *views, description="given")
    assert [(each.name, each.description, each.view, each.keys, each.limit) for each in found] == [
        ("renamed", "another", 0, None, 2000),
        ("counter", "given", 2, ("a", "b"), 5),
    ]


@pytest.mark.parametrize(
    ("view", "matches"),
    [
        (View(instrument_type=Counter), True),
        (View(instrument_type=Histogram), False),
        (View(instrument_name="*"), True),
        (View(instrument_name="c?unter"), True),
        (View(instrument_unit="By"), True),
        (View(instrument_unit="s"), False),
        (View(meter_name="m", meter_version="1"), True),
        (View(meter_version="2"), False),
    ],
)
def test_views_select(tmp_path: Path, view: View, *, matches: bool) -> None:
    """Views select by class, name, unit, and name and version of the meter."""
    (stream,) = streams(tmp_path, "counter", view, unit="By")
    assert (stream.view == 0) is matches


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (DefaultAggregation(), AggregationSpec(DataKind.HISTOGRAM, (1.0, 2.0))),
        (SumAggregation(), AggregationSpec(DataKind.SUM)),
        (LastValueAggregation(), AggregationSpec(DataKind.GAUGE)),
        (ExplicitBucketHistogramAggregation(), AggregationSpec(DataKind.HISTOGRAM, (1.0, 2.0))),
        (
            ExplicitBucketHistogramAggregation([3, 4], record_min_max=False),
            AggregationSpec(DataKind.HISTOGRAM, (3.0, 4.0), record_min_max=False),
        ),
        (
            ExponentialBucketHistogramAggregation(max_size=7, max_scale=3),
            AggregationSpec(DataKind.EXPONENTIAL_HISTOGRAM, max_size=7, max_scale=3),
        ),
    ],
)
def test_a_view_chooses_the_aggregation(
    tmp_path: Path, aggregation: Aggregation, expected: AggregationSpec
) -> None:
    """A View's aggregation is used; without bounds of its own, with those that the instrument advises."""
    view = View(instrument_name="histogram", aggregation=aggregation)
    (stream,) = streams(tmp_path, "histogram", view, explicit_bucket_boundaries_advisory=[1, 2])
    assert replace(stream.aggregation, advised=False) == expected


def test_the_default_bounds_are_the_specification_s(tmp_path: Path) -> None:
    """Without advice the bounds are the 15 of the specification."""
    (stream,) = streams(tmp_path, "histogram")
    assert stream.aggregation.bounds == DEFAULT_BOUNDS
    assert DEFAULT_BOUNDS == (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)


def test_a_view_that_drops(tmp_path: Path) -> None:
    """An instrument that every View drops has no stream, and is not enabled."""
    views = [View(instrument_name="counter", aggregation=DropAggregation())]
    assert streams(tmp_path, "counter", *views) == []
    with provider_in(tmp_path, views) as provider:
        counter: Any = provider.get_meter("m").create_counter("counter")
        counter.add(1)
        assert (counter.enabled, scraped(provider)) == (False, {})


class Custom(ExplicitBucketHistogramAggregation):
    """An aggregation that only its author knows."""


@pytest.mark.parametrize(
    "aggregation",
    [
        Custom(),
        ExplicitBucketHistogramAggregation([2, 1]),
        ExplicitBucketHistogramAggregation([1, float("nan")]),
        ExponentialBucketHistogramAggregation(max_size=20_000),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_aggregation_that_cannot_be_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, aggregation: Aggregation
) -> None:
    """A View with an aggregation that cannot be used is logged and left out: the default remains."""
    (stream,) = streams(tmp_path, "histogram", View(instrument_name="histogram", aggregation=aggregation))
    assert (stream.view, stream.aggregation.bounds) == (None, DEFAULT_BOUNDS)
    assert logging.ERROR in [record.levelno for record in caplog.records]


@pytest.mark.parametrize(
    "aggregation", [ExplicitBucketHistogramAggregation(), ExponentialBucketHistogramAggregation()]
)
def test_an_observable_has_no_histogram(tmp_path: Path, aggregation: Aggregation) -> None:
    """A View that asks for a histogram of what callbacks observe is not applied."""
    view = View(instrument_name="*", aggregation=aggregation)
    (stream,) = streams(tmp_path, "observable_gauge", view)
    assert (stream.view, stream.aggregation.kind) == (None, DataKind.GAUGE)


@pytest.mark.parametrize(
    ("bounds", "valid"),
    [
        ([], True),
        ([1, 2.5], True),
        ((-1.0, 0.0), True),
        ([1, 1], False),
        ([2, 1], False),
        ([float("inf")], False),
        ([float("nan")], False),
        (["1"], False),
        (None, False),
    ],
)
def test_bounds(bounds: object, *, valid: bool) -> None:
    """Bounds are finite numbers, each greater than the one before."""
    assert valid_bounds(bounds) is valid


def test_readers_that_ask_for_the_same_share_a_stream(tmp_path: Path) -> None:
    """A stream is made once for all readers that want it, whichever temporality they ask for."""
    delta = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})
    found = definitions(instrument(tmp_path, "counter"), [], [PULL, ReaderConfig.of(delta)])
    assert len(found) == 1


def test_readers_see_the_streams_of_their_own_wishes(tmp_path: Path) -> None:
    """A reader that prefers another aggregation has a stream of its own; a View's choice is everybody's."""
    other = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()})
    views = [View(instrument_name="fixed", aggregation=ExplicitBucketHistogramAggregation([1.0]))]
    with provider_in(tmp_path, views, metric_readers=[other]) as provider:
        meter = provider.get_meter("m")
        for name in ("free", "fixed"):
            meter.create_histogram(name).record(3)
        data = other.get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        assert {metric.name: type(metric.data).__name__ for metric in metrics} == {
            "free": "ExponentialHistogram",
            "fixed": "Histogram",
        }
        pulled = scraped(provider)
    assert isinstance(pulled["free"][key()], HistogramValue)
    assert pulled["fixed"][key()].buckets == [0, 1]
