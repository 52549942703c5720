"""What OpenTelemetry names are called in Prometheus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.exposition import escape_label_name, escape_metric_name

from telemetry.exposition.naming import Escaping, is_plain, label_name, metric_name, unit_word


@pytest.mark.parametrize(
    ("unit", "gauge", "word"),
    [
        ("s", False, "seconds"),
        ("ms", False, "milliseconds"),
        ("By", False, "bytes"),
        ("By/s", False, "bytes_per_second"),
        ("m/h", False, "meters_per_hour"),
        ("{request}", False, ""),
        ("{request}/s", False, "per_second"),
        ("1", True, "ratio"),
        ("1", False, ""),
        ("%", True, "percent"),
        ("odd unit", False, "odd_unit"),
        ("", True, ""),
    ],
)
def test_units(unit: str, gauge: bool, word: str) -> None:  # noqa: FBT001 - a parameter of the table
    """Item 26: units become words, annotations go, a divisor is `per`, 1 is a ratio on a gauge only."""
    assert word == unit_word(unit, gauge=gauge)


@pytest.mark.parametrize(
    ("name", "unit", "counter", "expected"),
    [
        ("http.server.requests", "", True, "http_server_requests_total"),
        ("http.server.duration", "seconds", False, "http_server_duration_seconds"),
        ("io.bytes", "bytes", True, "io_bytes_total"),
        ("io_bytes_total", "bytes", True, "io_bytes_total"),
        ("requests_total", "", True, "requests_total"),
        ("requests_total", "", False, "requests_total"),
        ("a..b--c__d", "", False, "a_b_c_d"),
        ("job:rate", "", False, "job:rate"),
        ("1st", "", False, "_st"),
        ("é", "", False, "_"),
        ("_total", "", True, "__total"),
    ],
)
def test_names_with_underscores(name: str, unit: str, counter: bool, expected: str) -> None:  # noqa: FBT001
    """Items 26, 27: bad characters become one `_`, the unit comes before `_total`, none is doubled."""
    assert expected == metric_name(name, unit, Escaping.UNDERSCORES, counter=counter)


@pytest.mark.parametrize(
    ("escaping", "metric", "label"),
    [
        (Escaping.UNDERSCORES, "a_b_seconds_total", "x_y"),
        (Escaping.DOTS, "a_dot_b__seconds__total", "x_dot_y"),
        (Escaping.VALUES, "U__a_2e_b__seconds__total", "U__x_2e_y"),
        (Escaping.ALLOW_UTF_8, "a.b_seconds_total", "x.y"),
    ],
)
def test_escaping_schemes(escaping: Escaping, metric: str, label: str) -> None:
    """Item 25: each scheme escapes the name with its unit and `_total`, and label names."""
    assert metric == metric_name("a.b", "seconds", escaping, counter=True)
    assert label == label_name("x.y", escaping)


@given(st.text(st.characters(), min_size=1, max_size=20), st.sampled_from([Escaping.DOTS, Escaping.VALUES]))
def test_names_escape_as_in_prometheus_client(name: str, escaping: Escaping) -> None:
    """Item 25: any name, lone surrogates included, is escaped as the official client escapes it."""
    assert escape_metric_name(name, escaping) == metric_name(name, "", escaping, counter=False)
    # A name of a metric may be a label's, but for colons and for the prefix that Prometheus keeps for itself.
    label = label_name(name, escaping)
    if not label.startswith("key__") and not name.startswith("__"):
        assert escape_label_name(name, escaping) == label


@given(st.text(st.characters()), st.sampled_from([Escaping.UNDERSCORES, Escaping.DOTS, Escaping.VALUES]))
def test_escaped_names_are_plain(name: str, escaping: Escaping) -> None:
    """Item 25: whatever a name is, escaped it needs no quotes, and no label is Prometheus' own."""
    label = label_name(name, escaping)
    assert is_plain(label, label=True)
    assert not label.startswith("__")
    assert is_plain(metric_name(name or "x", "", escaping, counter=False))
