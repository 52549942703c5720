"""Which format a scraper gets."""

import pytest

from telemetry.exposition.naming import Escaping
from telemetry.exposition.negotiation import DEFAULT, Exposition, Format, gzip_wanted, preferred

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PLAIN = Exposition(Format.OPENMETRICS_1_0_0, Escaping.UNDERSCORES)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", DEFAULT),
        ("*/*", DEFAULT),
        ("text/*", DEFAULT),
        ("text/html,application/json", DEFAULT),
        ("text/plain", DEFAULT),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", DEFAULT),
        ("text/plain;version=1.0.0", Exposition(Format.TEXT_1_0_0, Escaping.UNDERSCORES)),
        ("text/plain;version=1.0.0;escaping=dots", Exposition(Format.TEXT_1_0_0, Escaping.DOTS)),
        (OPENMETRICS, PLAIN),
        ("application/openmetrics-text", PLAIN),
        ("Application/OpenMetrics-Text; Version=1.0.0", PLAIN),
        (f"{OPENMETRICS};escaping=values", Exposition(Format.OPENMETRICS_1_0_0, Escaping.VALUES)),
        (f"{OPENMETRICS};escaping=shouting", PLAIN),
        (f"{OPENMETRICS};q=0.1,text/plain;version=0.0.4;q=0.9", DEFAULT),
        (f"text/plain;version=0.0.4;q=0.1,{OPENMETRICS};q=0.9", PLAIN),
        (f"text/plain;version=1.0.0,{OPENMETRICS}", Exposition(Format.TEXT_1_0_0, Escaping.UNDERSCORES)),
        (f"{OPENMETRICS};q=0", DEFAULT),
        (f"{OPENMETRICS};q=high,text/plain", DEFAULT),
        (
            f"{OPENMETRICS};q=nan,text/plain;version=1.0.0;q=0.1",
            Exposition(Format.TEXT_1_0_0, Escaping.UNDERSCORES),
        ),
        (f"text/plain;q=0.5,*/*;q=0.8,{OPENMETRICS};q=0.7", DEFAULT),
        ("application/openmetrics-text;version=2.0.0", DEFAULT),
        ("application/openmetrics-text;version=0.0.1", DEFAULT),
        ("application/openmetrics-text; version=x", DEFAULT),
        (PROMETHEUS_3, PLAIN),
        (PROMETHEUS_2, PLAIN),
        (",;,q=1,", DEFAULT),
    ],
)
def test_preferred(accept: str, expected: Exposition) -> None:
    """Item 24: the highest q that can be served wins; without an Accept header it is text 0.0.4."""
    assert expected == preferred(accept)


def test_names_with_dots_only_where_wanted() -> None:
    """Item 25: Prometheus 3, which allows UTF-8 of itself, gets it only from who wants to serve it."""
    utf8 = Exposition(Format.OPENMETRICS_1_0_0, Escaping.ALLOW_UTF_8)
    assert utf8 == preferred(PROMETHEUS_3, utf8_names=True)


@pytest.mark.parametrize(
    ("exposition", "content_type"),
    [
        (DEFAULT, "text/plain; version=0.0.4; charset=utf-8"),
        (
            Exposition(Format.TEXT_1_0_0, Escaping.DOTS),
            "text/plain; version=1.0.0; charset=utf-8; escaping=dots",
        ),
        (PLAIN, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
    ],
)
def test_content_types(exposition: Exposition, content_type: str) -> None:
    """Item 24: the Content-Type states the version and, from 1.0.0 on, the escaping."""
    assert content_type == exposition.content_type


@pytest.mark.parametrize(
    ("accept_encoding", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("*", False),
    ],
)
def test_gzip_wanted(accept_encoding: str, wanted: bool) -> None:  # noqa: FBT001 - a column of the table
    """The text is compressed only where gzip is asked for by name."""
    assert wanted is gzip_wanted(accept_encoding)
