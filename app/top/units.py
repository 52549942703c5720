"""Numbers, durations and sizes as people read them, and foreign text as a terminal may show it."""

import math
from collections.abc import Callable


def unit_of(family: str) -> Callable[[float], str]:
    """Return what writes a family's values: by the unit that ends its name."""
    if family.endswith("_seconds"):
        return seconds
    return size if family.endswith("_bytes") else number


def number(value: float) -> str:
    """Return a number: whole ones in full up to a million, others with three digits that count."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return f"{int(value)}"
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if math.isfinite(value) and abs(value) >= factor:
            return f"{value / factor:.2f} {letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def seconds(value: float) -> str:
    """Return a duration."""
    if value and abs(value) < 0.001:
        return f"{value * 1e6:.0f} µs"
    return (
        f"{value * 1000:.0f} ms"
        if abs(value) < 1
        else f"{value:.3g} s"
        if abs(value) < 1000
        else f"{value:.0f} s"
    )


def size(value: float) -> str:
    """Return a number of bytes."""
    for factor, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if abs(value) >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def printable(text: str) -> str:
    """Return a text of foreign origin with nothing in it that a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)
