"""Attribute sets as canonical JSON: equal sets give equal bytes, and True, 1 and 1.0 stay three values."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from opentelemetry.util.types import AnyValue

from telemetry.sdk.layout import InvalidSegmentError

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_DEEPEST = 32


def encode_attributes(attributes: Mapping[str, AnyValue]) -> bytes:
    """Return the canonical text of an attribute set that has been cleaned: ASCII, keys in order.

    Raises ValueError for what is nested too deeply to be read back wherever the stack is deep, too.
    """
    return _encode([[key, _tagged(attributes[key])] for key in sorted(attributes)]).encode("ascii")


def decode_attributes(text: bytes) -> dict[str, AnyValue]:
    """Return the attribute set of a canonical text; raises InvalidSegmentError for anything else."""
    try:
        return _untagged_pairs(json.loads(text.decode("ascii")), 0)
    except (ValueError, TypeError, RecursionError) as problem:
        raise InvalidSegmentError(f"an attribute set cannot be read: {problem}") from problem


def _tagged(value: Any, depth: int = 0) -> Any:
    # Objects are the tags: of bytes and of mappings, which JSON lacks or leaves unordered.
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value + 0.0  # -0.0 == 0.0
    if isinstance(value, bytes):
        return {"b": base64.b64encode(value).decode("ascii")}
    if depth == _DEEPEST:
        raise ValueError("an attribute's value is nested too deeply")
    if isinstance(value, Mapping):
        return {"m": [[key, _tagged(value[key], depth + 1)] for key in sorted(value)]}
    return [_tagged(each, depth + 1) for each in value]


def _untagged(value: Any, depth: int) -> AnyValue:
    if depth > _DEEPEST:
        raise ValueError("a value is nested too deeply")
    if isinstance(value, list):
        return tuple(_untagged(each, depth + 1) for each in value)
    if isinstance(value, dict):
        ((tag, content),) = value.items()
        if tag == "b":
            return base64.b64decode(content, validate=True)
        if tag == "m":
            return _untagged_pairs(content, depth + 1)
        raise ValueError(f"unknown tag {tag!r}")
    return value  # type: ignore[no-any-return]


def _untagged_pairs(pairs: Any, depth: int) -> dict[str, AnyValue]:
    if not isinstance(pairs, list):
        raise TypeError("it is no list of pairs")
    found: dict[str, AnyValue] = {}
    last: str | None = None
    for pair in pairs:
        # A text of two characters would unpack, too.
        if not isinstance(pair, list):
            raise TypeError("a pair is no list")
        key, value = pair
        if not isinstance(key, str):
            raise TypeError("a key is not a text")
        if last is not None and key <= last:
            raise ValueError("the keys are not in order")
        last = key
        found[key] = _untagged(value, depth)
    return found
