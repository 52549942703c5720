"""Label values, numbers and comments, read back by the parsers of both formats."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telemetry.exposition import text
from telemetry.exposition.naming import Escaping
from telemetry.exposition.negotiation import Exposition, Format
from telemetry.sdk.merged import DataKind
from tests.telemetry.exposition.sources import (
    OPENMETRICS,
    TEXT,
    histogram,
    merged,
    parsed,
    renderer,
    stream,
    text_of,
)

EXPOSITIONS = [
    TEXT,
    *(Exposition(format_, escaping) for format_ in list(Format)[1:] for escaping in Escaping),
]


def shown(value: str) -> str:
    """Return what a reader sees of a label value."""
    return "".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in value)


@pytest.mark.parametrize("exposition", EXPOSITIONS, ids=lambda exposition: exposition.content_type)
@settings(max_examples=40, deadline=None)
@given(value=st.text(st.characters(), min_size=1, max_size=20), name=st.text(st.characters(), max_size=8))
@example(value='a"b\\c\nd', name="a")
@example(value="a\x00b\ud800c", name="\x00\ud800")
@example(value='\\"}\\', name='le"')
@example(value="x", name="__name__")
@example(value="x", name="_")
def test_labels_read_back(exposition: Exposition, value: str, name: str) -> None:
    """Item 25: any label value under any name reads back in every format; NUL and surrogates are replaced."""
    everything = merged(
        stream("requests", [({name: value}, 1)]),
        stream("latency", [({name: value}, histogram([1, 2], 3.0))], kind=DataKind.HISTOGRAM, bounds=(1.0,)),
    )
    families = parsed(text_of(everything, exposition), exposition)
    # The underscore of `_total` is escaped by `dots` as well.
    assert [family.name.rstrip("_") for family in families] == ["requests", "latency"]
    for family in families:
        for sample in family.samples:
            labels = {key: text for key, text in sample.labels.items() if key != "le"}
            assert [shown(value)] == list(labels.values())


def test_a_label_value_of_one_megabyte() -> None:
    """A huge label value is shown whole."""
    value = 'x"' * 500_000
    written = b"".join(renderer().render(merged(stream("requests", [({"path": value}, 1)])))).decode()
    # The parser takes a minute for it.
    assert written.splitlines()[1] == 'requests_total{path="' + 'x\\"' * 500_000 + '"} 1'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (None, "null"),
        (("a", 1), '["a", 1]'),
        ({"a": {"b": None}}, '{"a": {"b": null}}'),
        (b"x", "\"b'x'\""),
        (math.nan, "NaN"),
        ({("not", "a key"): 1}, "unprintable dict"),
        ("text", "text"),
    ],
)
def test_values_that_are_no_strings(value: Any, expected: str) -> None:
    """A value that is no string is shown as JSON, as by the official exporter; nothing raises."""
    assert expected == text.label_value(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"),
        (2**63, "9223372036854775808"),
        (True, "1"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, expected: str) -> None:
    """Ints are ints, floats keep every digit, and what is not finite has Prometheus' spelling."""
    assert expected == text.number(value)


@given(st.floats())
def test_numbers_read_back(value: float) -> None:
    """Every float that is written reads back as itself."""
    read = float(text.number(value))
    assert read == value or (math.isnan(read) and math.isnan(value))


@pytest.mark.parametrize(
    ("exposition", "line"),
    [(TEXT, r'# HELP a_total say "x\\y"\nand c'), (OPENMETRICS, r"# HELP a say \"x\\y\"\nand c")],
    ids=["text", "openmetrics"],
)
def test_help_reads_back(exposition: Exposition, line: str) -> None:
    """A description with quotes, backslashes and newlines reads back; without one there is no HELP."""
    description = 'say "x\\y"\nand c'
    written = text_of(
        merged(stream("a", [({}, 1)], description=description), stream("b", [({}, 1)])), exposition
    )
    assert description == parsed(written, exposition)[0].documentation
    assert line == written.splitlines()[0]
    assert written.count("# HELP") == 1


def test_attributes_that_become_one_label() -> None:
    """Item 29: values of keys that become one label are joined by ; in the order of the keys."""
    attributes = {"a_b": "3", "a.b": "2", "a-b": "1", "c": "x"}
    assert text.labels(attributes, Escaping.UNDERSCORES) == 'a_b="1;2;3",c="x"'


def test_an_empty_value_is_an_absent_label() -> None:
    """An empty value is left out, as Prometheus itself would."""
    assert text.labels({"a": "", "b": "x"}, Escaping.UNDERSCORES) == 'b="x"'


def test_a_reserved_label_is_kept_under_another_name() -> None:
    """A user's `le` on a histogram neither replaces the bound nor is lost."""
    written = text_of(
        merged(
            stream("h", [({"le": "mine"}, histogram([1, 0], 0.5))], kind=DataKind.HISTOGRAM, bounds=(1.0,)),
            stream("g", [({"le": "mine"}, 1)], kind=DataKind.GAUGE),
        )
    )
    assert 'h_bucket{le="1.0",exported_le="mine"} 1\n' in written
    assert 'g{le="mine"} 1\n' in written
