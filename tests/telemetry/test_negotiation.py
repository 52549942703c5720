"""Which format a scraper gets."""

import pytest

from telemetry.negotiation import preferred

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "entry"),
    [
        ("", ""),
        ("*/*", ""),
        ("text/*", ""),
        ("text/html,application/json", ""),
        (OPENMETRICS, OPENMETRICS),
        (f"{OPENMETRICS};q=0.1,text/plain;version=0.0.4;q=0.9", "text/plain;version=0.0.4;q=0.9"),
        (f"{OPENMETRICS};q=0,text/plain;version=0.0.4", "text/plain;version=0.0.4"),
        (f"{OPENMETRICS};q=0", ""),
        (f"{OPENMETRICS};q=high,text/plain", "text/plain"),
        (f"text/plain;q=0.5,*/*;q=0.8,{OPENMETRICS};q=0.7", ""),
        ("application/openmetrics-text;version=2.0.0", ""),
        ("application/openmetrics-text; version=x", ""),
        (PROMETHEUS_3, "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6"),
        (",;,q=1,", ""),
    ],
)
def test_preferred(accept: str, entry: str) -> None:
    """The highest q that can be served wins; what cannot be served, or is refused by q=0, does not."""
    assert preferred(accept) == entry
