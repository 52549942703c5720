"""Sums that do not depend on the order of their parts.

A sum over workers is rounded once. When parts become one, as when the dead are folded, their sum is rounded
up: what is added to it later is then never less than before. A counter that fell by a rounding error would
look like a restart to Prometheus, which then counts the whole value again.
"""

from collections.abc import Callable, Sequence
from math import fsum, inf, isinf, nextafter

Total = Callable[[Sequence[float]], float]


def total(values: Sequence[float]) -> float:
    """Return the sum, rounded to the nearest float; exact, and an int, where all parts are ints."""
    if all(type(value) is int for value in values):
        return sum(values)
    try:
        return fsum(values)
    except (OverflowError, ValueError):  # beyond the largest float, on the way at least
        return float(sum(values))


def total_rounded_up(values: Sequence[float]) -> float:
    """Return the least float that is no less than the sum; exact, and an int, where all parts are ints."""
    rounded = total(values)
    if type(rounded) is int or isinf(rounded) or len(values) < 2:
        return rounded
    return nextafter(rounded, inf) if fsum([*values, -rounded]) > 0 else rounded
