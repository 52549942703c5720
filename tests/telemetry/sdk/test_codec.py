"""Attribute sets as canonical text."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.util.types import AnyValue

from telemetry.sdk.codec import decode_attributes, encode_attributes
from telemetry.sdk.layout import InvalidSegmentError

texts = st.text(max_size=10)
scalars = st.one_of(
    texts, st.booleans(), st.integers(), st.floats(allow_nan=False), st.none(), st.binary(max_size=10)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
attribute_sets = st.dictionaries(texts, anything, max_size=5)


def nested(levels: int) -> AnyValue:
    """Return a value of so many sequences, each in the one before."""
    value: AnyValue = 1
    for _ in range(levels):
        value = (value,)
    return value


@given(attribute_sets)
def test_what_is_encoded_is_decoded(attributes: dict[str, AnyValue]) -> None:
    """Any attribute set comes back from its text with the same values of the same types."""
    text = encode_attributes(attributes)
    assert decode_attributes(text) == attributes
    assert repr(encode_attributes(decode_attributes(text))) == repr(text)


@given(attribute_sets, st.integers())
def test_order_does_not_matter(attributes: dict[str, AnyValue], seed: int) -> None:
    """Equal sets have equal texts, in whichever order their keys were given."""
    items = list(attributes.items())
    random.Random(seed).shuffle(items)  # noqa: S311 (repeatable, not secret)
    assert encode_attributes(dict(items)) == encode_attributes(attributes)


def test_true_one_and_one_point_zero_are_three_values() -> None:
    """Values that Python holds for equal and that are of different types have different texts."""
    values: list[AnyValue] = [True, 1, 1.0, "1", "true", b"1", (1,), {"1": 1}, None, "null", False, 0, 0.0]
    assert len({encode_attributes({"k": value}) for value in values}) == len(values)


def test_zeros_are_one_value() -> None:
    """A negative zero equals the other one, and has its text."""
    assert encode_attributes({"k": -0.0}) == encode_attributes({"k": 0.0})


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1])
def test_floats_are_exact(value: float) -> None:
    """Floats come back as they were, infinities too."""
    assert decode_attributes(encode_attributes({"k": value})) == {"k": value}


def test_not_a_number_is_one_value() -> None:
    """All that is no number has one text."""
    assert encode_attributes({"k": math.nan}) == encode_attributes({"k": -math.nan})
    assert math.isnan(decode_attributes(encode_attributes({"k": math.nan}))["k"])  # type: ignore[arg-type]


def test_text_is_ascii() -> None:
    """The text holds ASCII only, whatever the attributes hold."""
    attributes = {"kö\ud800y\0": 'v"\\\n\U0001f600'}
    assert encode_attributes(attributes).isascii()
    assert decode_attributes(encode_attributes(attributes)) == attributes


def test_whatever_the_official_cleaning_lets_through_is_encoded() -> None:
    """What the official SDK makes of unusual attributes has a text, and comes back."""
    unusual: Any = {"a": [1, None, {"x": [b"y"]}], "b": {1: 2, "c": object()}, "d": {1}, "e": range(3)}
    cleaned = dict(BoundedAttributes(attributes=unusual).items())
    assert repr(decode_attributes(encode_attributes(cleaned))) == repr(dict(sorted(cleaned.items())))


def test_nesting_is_bounded() -> None:
    """A value is nested 32 levels deep at most, so that whoever reads it never runs out of stack."""
    text = encode_attributes({"k": nested(32)})
    assert decode_attributes(text) == {"k": nested(32)}
    with pytest.raises(ValueError, match="nested too deeply"):
        encode_attributes({"k": nested(33)})
    deeper = text.replace(b"1", b"[[1]]")
    with pytest.raises(InvalidSegmentError, match="nested too deeply"):
        decode_attributes(deeper)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"1",
        b"{}",
        b'"ab"',
        b'["ab"]',
        b'[["a"]]',
        b'[["a",1,2]]',
        b"[[1,2]]",
        b'[["a",1],["a",2]]',
        b'[["b",1],["a",1]]',
        b'[["a",{}]]',
        b'[["a",{"x":1}]]',
        b'[["a",{"b":1}]]',
        b'[["a",{"b":"?"}]]',
        b'[["a",{"b":"YQ==","m":[]}]]',
        b'[["a",{"m":1}]]',
        b'[["a",{"m":[["b",1],["a",1]]}]]',
        b'{"m":[["ab",1]]}',
        b'[["a",' + b"[" * 100_000,
        b'[["a",' + b"1" * 5_000 + b"]]",
        b"\xff",
        b"\xef\xbb\xbf[]",
        b"[] []",
    ],
)
def test_what_is_no_attribute_set_is_refused(text: bytes) -> None:
    """Any other text is an error of the format, never another one."""
    with pytest.raises(InvalidSegmentError):
        decode_attributes(text)


@given(st.binary(max_size=40) | st.text(alphabet='[]{}"ab:,1.e-mnult', max_size=30).map(str.encode))
def test_decoding_fails_in_one_way_only(text: bytes) -> None:
    """Whatever bytes there are, decoding returns a set or raises the error of the format."""
    try:
        attributes = decode_attributes(text)
    except InvalidSegmentError:
        return
    assert all(isinstance(name, str) for name in attributes)
