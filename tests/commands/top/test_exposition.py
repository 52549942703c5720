"""Reading a scrape: both formats, whatever stands in a label, and what is no scrape."""

import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from app.top.exposition import NotMetricsError, labels_of, name_of, parse
from tests.support.backend import BackendProcess

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

TEXT = r"""# HELP a what \n it is
# TYPE a counter
a_total{x="}\" # {\\",y="1 2"} 3.0 # {trace_id="ab"} 1 1790000000.5
a_total{x="",} 4 1790000000000

b  -Inf
b{} 1e3
{"with.dots",x="a"} 5
# EOF
"""


def read(text: str) -> Samples:
    """Return what our reader makes of a text."""
    return {
        (name_of(series), frozenset(labels_of(series).items())): value
        for series, value in parse(text).series.items()
    }


def test_whatever_a_label_holds() -> None:
    """Quotes, braces, escapes, exemplars, time stamps and quoted names are told apart."""
    assert read(TEXT) == {
        ("a_total", frozenset({("x", '}" # {\\'), ("y", "1 2")})): 3.0,
        ("a_total", frozenset({("x", "")})): 4.0,
        ("b", frozenset()): 1000.0,
        ("with.dots", frozenset({("x", "a")})): 5.0,
    }
    assert parse(TEXT).types == {"a": "counter"}


@pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
def test_what_the_backend_serves(backend: BackendProcess, accept: str) -> None:
    """Of the backend's own /metrics it reads what the official parser reads, in both formats."""
    backend.execute("true")
    answer = backend.http.get("/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(accept.partition(";")[0])
    families = openmetrics_families if "openmetrics" in accept else text_string_to_metric_families
    official = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(answer.text)
        for sample in family.samples
    }
    assert len(official) > 100
    assert read(answer.text) == official


@pytest.mark.parametrize(
    "text",
    [
        "<!doctype html>\n<p>hello</p>",
        '{"status": "ok"}',
        "a_total",
        "a_total one",
        'a{x="} 1',
        "a 1\nnot so\n",
    ],
)
def test_what_is_no_scrape(text: str) -> None:
    """A web page, JSON and broken lines are refused, with the line."""
    with pytest.raises(NotMetricsError, match=r"line \d is no metric"):
        parse(text)


@pytest.mark.parametrize(
    "line", ["a{" + '"' * 200_001, "a{" + "x" * 200_000, "a" * 200_000, 'a{x="' + "\\" * 200_001]
)
def test_a_line_made_to_take_long(line: str) -> None:
    """No line, however made, takes more than time in proportion to its length."""
    begun = time.monotonic()
    with pytest.raises(NotMetricsError):
        parse(line)
    assert time.monotonic() - begun < 5
