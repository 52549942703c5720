"""Sums, rises and quantiles over scrapes."""

import math

import pytest

from app.top.exposition import parse
from app.top.scrape import Scrape
from app.top.tally import WINDOW_SECONDS, Tally, quantile

COUNTER = "# TYPE a_total counter\n"


def scrape(at: float, text: str) -> Scrape:
    """Return a scrape at a time in seconds."""
    return Scrape(at, 0.01, len(text), openmetrics=False, exposition=parse(text))


def tally(*texts: str) -> Tally:
    """Return the tally of scrapes two seconds apart."""
    result = Tally()
    for number, text in enumerate(texts):
        result.add(scrape(2.0 * number, text))
    return result


def test_a_counter_is_summed_over_its_labels() -> None:
    """The series of a name are added up, and so is by how much they rose."""
    result = tally(
        COUNTER + 'a_total{x="1"} 10\na_total{x="2"} 5\n', COUNTER + 'a_total{x="1"} 13\na_total{x="2"} 6\n'
    )
    assert (result.total("a_total"), result.increase("a_total"), result.seconds) == (19.0, 4.0, 2.0)


def test_a_counter_that_began_again() -> None:
    """One series that begins again at 0 takes nothing from the others."""
    result = tally(
        COUNTER + 'a_total{x="1"} 10\na_total{x="2"} 5\n', COUNTER + 'a_total{x="1"} 2\na_total{x="2"} 6\n'
    )
    assert result.increase("a_total") == 3.0


def test_a_series_that_was_not_there() -> None:
    """A new series counts from 0, but not in the first scrape, of which nobody knows since when it counts."""
    assert tally(COUNTER + "a_total 10\n").increase("a_total") == 0.0
    assert (
        tally(COUNTER + "a_total 10\n", COUNTER + 'a_total 10\na_total{x="2"} 1\n').increase("a_total") == 1.0
    )


def test_gauges_and_created_times_are_no_counters() -> None:
    """What is a gauge, or the time at which a counter began, does not rise."""
    text = "# TYPE a counter\n# TYPE g gauge\na_total {0}\na_created {0}\ng {0}\n"
    result = tally(text.format(1), text.format(3))
    assert {group.name: value for group, value in result.increases.items()} == {"a_total": 2.0}
    assert (result.gauges["g"].least, result.gauges["g"].series, result.moved["g"]) == (3.0, 1, 1)


def test_the_window() -> None:
    """What rose before the last minute is forgotten."""
    result = Tally()
    for second in range(0, 121, 2):
        result.add(scrape(float(second), f"{COUNTER}a_total {1000 if second > 10 else 0}\n"))
    assert (result.increase("a_total"), result.total("a_total")) == (0.0, 1000.0)
    assert WINDOW_SECONDS <= result.seconds < WINDOW_SECONDS + 2


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.5, 0.1), (0.25, 0.05), (0.9, 0.9), (0.99, math.inf)],
)
def test_quantiles(share: float, value: float) -> None:
    """A quantile is interpolated in its bucket; past the last finite bound only that is known."""
    assert quantile(share, {0.1: 50, 1.0: 95, math.inf: 100}) == pytest.approx(value)


def test_quantiles_without_observations() -> None:
    """Without observations, or without the bucket of everything, there is no quantile."""
    assert math.isnan(quantile(0.5, {0.1: 0, math.inf: 0}))
    assert math.isnan(quantile(0.5, {0.1: 5}))
    assert math.isnan(quantile(0.5, {}))
