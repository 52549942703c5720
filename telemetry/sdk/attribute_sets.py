"""Attribute sets as a store looks them up: cleaned, in canonical form, and as they were given."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.util.types import AnyValue

from telemetry.sdk.codec import encode_attributes

OVERFLOW: Mapping[str, AnyValue] = {"otel.metric.overflow": True}
OVERFLOW_TEXT = encode_attributes(OVERFLOW)

_LONGEST_ALIAS = 1024  # characters: those that come from outside, such as paths, may be of any size
_HASHED_ALONE = (str, bytes, int, float, type(None))


def cleaned(attributes: Mapping[str, AnyValue] | None) -> dict[str, AnyValue]:
    """Return a set without what is no attribute, in the types that attributes have."""
    if not attributes:
        return {}
    if all(type(key) is str and key and type(value) is str for key, value in attributes.items()):
        return dict(attributes)
    # A StrEnum's member is its text: the two must not be two series.
    return {
        key: str.__str__(value) if isinstance(value, str) else value
        for key, value in BoundedAttributes(attributes=attributes).items()
    }


def canonical(kept: Mapping[str, AnyValue]) -> tuple[Any, bytes]:
    """Return the key under which the series of a cleaned set is found, and the set's text."""
    text = encode_attributes(kept)
    # Two surrogates and the character that they spell have one text, and must not have two cells.
    if b"\\ud" not in text and all(type(value) is str for value in kept.values()):
        keys = sorted(kept)
        return (*keys, *(kept[key] for key in keys)), text
    return text, text


def alias(attributes: Mapping[str, AnyValue] | None) -> Any:
    """Return the key by which a set is found again without being cleaned or put in order; None for no key.

    Hot paths build the same. Only sets whose values are all texts have a plain one, and no other value equals
    a text: a set with True, 1 or 1.0, which are equal, has a key that tells them apart by their types.
    """
    if not attributes:
        return ()
    values = attributes.values()
    try:
        found: Any = (*attributes, *values)
        if not all(issubclass(type(value), str) for value in values):
            if not all(isinstance(value, _HASHED_ALONE) for value in values):
                return None  # what is in a sequence would be compared, too, and True == 1
            found = found, tuple(map(type, values))
        hash(found)
    except TypeError:
        return None
    return found if _length(found) <= _LONGEST_ALIAS else None


def _length(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return sum(map(_length, value)) if isinstance(value, tuple) else 1
