"""What OpenTelemetry names are called in Prometheus.

Source: Prometheus and OpenMetrics compatibility, "Metric metadata" and "Metric attributes"; Prometheus
documentation, "Escaping schemes".
"""

import re
from enum import StrEnum
from functools import lru_cache


class Escaping(StrEnum):
    """What becomes of characters that no name had before Prometheus 3, as the Accept header calls it."""

    UNDERSCORES = "underscores"
    DOTS = "dots"
    VALUES = "values"
    ALLOW_UTF_8 = "allow-utf-8"


TOTAL = "_total"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_A_LABEL = re.compile(r"[^a-zA-Z0-9]+")

_ANNOTATION = re.compile(r"{.*}")
_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
    "1": "",
}
_PER_UNITS = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}


def unit_word(unit: str, *, gauge: bool) -> str:
    """Return a UCUM unit as Prometheus writes it, empty where it has none.

    Only a gauge's unit 1 is a ratio: on a counter or a histogram it is a count.
    """
    unit = _ANNOTATION.sub("", unit)
    if unit == "1" and gauge:
        return "ratio"
    if unit in _UNITS:
        return _UNITS[unit]
    dividend, _, divisor = unit.partition("/")
    below = _NOT_IN_A_NAME.sub("_", divisor).strip("_")
    above = _NOT_IN_A_NAME.sub("_", dividend).strip("_")
    if not below:
        return above
    above = _UNITS.get(above, above)
    return f"{above}_per_{_PER_UNITS.get(below, below)}".lstrip("_")


@lru_cache(maxsize=4096)
def metric_name(name: str, unit: str, escaping: Escaping, *, counter: bool) -> str:
    """Return the name of an instrument's metric: the unit's word at its end, and `_total` on a counter."""
    if escaping is Escaping.UNDERSCORES:
        name = _underscored(name, _NOT_IN_A_NAME)
    if counter:
        name = name.removesuffix(TOTAL) or "_"
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    if counter:
        name += TOTAL
    return _escaped(name, escaping, _NAME, also=":")


@lru_cache(maxsize=4096)
def label_name(key: str, escaping: Escaping) -> str:
    """Return what an attribute's key is called. A name with two underscores in front is Prometheus' own."""
    if escaping is Escaping.UNDERSCORES:
        label = _underscored(key, _NOT_IN_A_LABEL)
    else:
        label = _escaped(key, escaping, _LABEL)
    return f"key{label}" if label.startswith("__") else label


def _underscored(name: str, unwanted: re.Pattern[str]) -> str:
    if name[:1].isdigit():
        name = f"_{name[1:]}"
    return unwanted.sub("_", name) or "_"


def _escaped(name: str, escaping: Escaping, valid: re.Pattern[str], also: str = "") -> str:
    if escaping is Escaping.DOTS:
        return "".join(_DOTS.get(c) or (c if _fits(c, i, also) else "__") for i, c in enumerate(name)) or "__"
    if escaping is Escaping.VALUES and not valid.fullmatch(name):
        return "U__" + "".join(
            "__" if c == "_" else c if _fits(c, i, also) else _code(c) for i, c in enumerate(name)
        )
    return name


_DOTS = {"_": "__", ".": "_dot_"}


def _fits(character: str, position: int, also: str) -> bool:
    if not character.isascii():
        return False
    return character.isalpha() or character in also or (character.isdigit() and position > 0)


def _code(character: str) -> str:
    # A lone surrogate is no text; the replacement character stands for it.
    return "_FFFD_" if "\ud800" <= character <= "\udfff" else f"_{ord(character):x}_"


def is_plain(name: str, *, label: bool = False) -> bool:
    """Return whether a name needs no quotes."""
    return (_LABEL if label else _NAME).fullmatch(name) is not None
