"""The words of the text formats: label values, numbers, comments, samples, exemplars.

Source: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0.0, "Text format".
"""

import json
import math
import re
from collections.abc import Iterable, Mapping

from opentelemetry.util.types import AnyValue

from telemetry.exposition.naming import Escaping, is_plain, label_name
from telemetry.sdk.merged import ExemplarValue

# OpenMetrics 1.0.0, "Exemplars": names and values of an exemplar's labels together.
EXEMPLAR_CHARACTERS = 128

# Prometheus' lexer takes a NUL for the end of the scrape, and a lone surrogate has no UTF-8.
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")


def number(value: float) -> str:
    """Return a number as Prometheus spells it; an int keeps all its digits."""
    if isinstance(value, int):
        return str(int(value))
    value = float(value)
    if math.isfinite(value):
        return repr(value)
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"  # noqa: PLR0124 - only NaN is not itself


def label_value(value: AnyValue) -> str:
    """Return an attribute's value as text: a string as it is, else JSON, as the official exporter does."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return f"unprintable {type(value).__name__}"


def quoted(text: str) -> str:
    """Return text in quotes, escaped."""
    return (
        f'"{_printable(text).replace(_BACKSLASH, _TWO).replace(_NEWLINE, _ESCAPED).replace(_QUOTE, _QUOTED)}"'
    )


_BACKSLASH, _TWO = "\\", "\\\\"
_NEWLINE, _ESCAPED = "\n", "\\n"
_QUOTE, _QUOTED = '"', '\\"'


def _printable(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return text
    return _UNPRINTABLE.sub("\ufffd", text)


def labels(attributes: Mapping[str, AnyValue], escaping: Escaping, reserved: str = "") -> str:
    """Return an attribute set as label text without braces, sorted by label name.

    Values whose keys become the same label are joined by `;` in the order of the keys. An empty value is an
    absent label to Prometheus, so it is left out. A label of the `reserved` name is shown as `exported_...`,
    which is what Prometheus does with a label that it needs itself.
    """
    values: dict[str, str] = {}
    for key in sorted(attributes):
        name = label_name(key, escaping)
        if name == reserved:
            name = f"exported_{name}"
        text = label_value(attributes[key])
        values[name] = f"{values[name]};{text}" if name in values else text
    return ",".join(
        [
            f"{name if is_plain(name, label=True) else quoted(name)}={quoted(value)}"
            for name, value in sorted(values.items())
            if value
        ]
    )


def head(name: str) -> str:
    """Return a sample up to its labels, which `sample` and `with_le` continue."""
    return name if is_plain(name) else f"{{{quoted(name)}"


def sample(start: str, label_text: str) -> str:
    """Return a sample up to its value."""
    if start[0] == "{":
        return f"{start},{label_text}}} " if label_text else f"{start}}} "
    return f"{start}{{{label_text}}} " if label_text else f"{start} "


def with_le(start: str, bound: float) -> str:
    """Return a bucket's sample up to the labels of its series; they share this text."""
    return f'{start}{"," if start[0] == "{" else "{"}le="{number(bound)}"'


def comments(name: str, kind: str, description: str, unit: str, *, openmetrics: bool) -> str:
    """Return the HELP, TYPE and UNIT lines of a family; HELP is left out where there is nothing to say."""
    shown = name if is_plain(name) else quoted(name)
    lines = ""
    if description:
        text = _printable(description).replace(_BACKSLASH, _TWO).replace(_NEWLINE, _ESCAPED)
        lines = f"# HELP {shown} {text.replace(_QUOTE, _QUOTED) if openmetrics else text}\n"
    lines += f"# TYPE {shown} {kind}\n"
    # OpenMetrics refuses a unit that the name does not end with; escaping may have changed the name.
    if openmetrics and unit and name.endswith(f"_{unit}"):
        lines += f"# UNIT {shown} {unit}\n"
    return lines


def exemplar(value: ExemplarValue, escaping: Escaping) -> str:
    """Return an exemplar as it follows a sample: trace and span id first, then the attributes that fit."""
    found: dict[str, str] = {}
    if value.trace_id:
        found["trace_id"] = f"{value.trace_id:032x}"
    if value.span_id:
        found["span_id"] = f"{value.span_id:016x}"
    room = EXEMPLAR_CHARACTERS - sum(len(name) + len(text) for name, text in found.items())
    for key, attribute in value.filtered_attributes.items():
        name, text = label_name(key, escaping), label_value(attribute)
        size = len(name) + len(text)
        # prometheus_client's parser miscounts escaped quotes in an exemplar and refuses the whole scrape.
        if size > room or name in found or '"' in text or not is_plain(name, label=True):
            continue
        found[name] = text
        room -= size
    return f" # {{{_pairs(found.items())}}} {number(value.value)} {seconds(value.time_unix_nano)}"


def _pairs(found: Iterable[tuple[str, str]]) -> str:
    return ",".join([f"{name}={quoted(text)}" for name, text in found])


# Prometheus stamps a scrape with the time at which it asked. A series made after that and before the merge
# would have its zero behind its first sample: a counter that falls, whose first value increase() takes twice.
CREATED_EARLY_NANOS = 10**9


def created(unix_nano: int) -> str:
    """Return the time of a series' zero, in seconds: a little before it began, when it was zero too."""
    return seconds(unix_nano - CREATED_EARLY_NANOS)


def seconds(unix_nano: int) -> str:
    """Return nanoseconds as seconds, without the loss of a float."""
    return f"{unix_nano // 10**9}.{unix_nano % 10**9:09d}"
