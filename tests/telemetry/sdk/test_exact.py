"""Sums over workers: no order of adding, and no fold, makes one fall."""

import math
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from telemetry.sdk.exact import total, total_rounded_up

AMOUNTS = st.lists(st.floats(0, 1e300) | st.integers(0, 2**60), min_size=1, max_size=5)


@given(AMOUNTS, AMOUNTS)
def test_folding_makes_no_sum_fall(dead: list[float], live: list[float]) -> None:
    """What the dead recorded, once folded, and what lives are together no less than before."""
    before = total([*dead, *live])
    after = total([total_rounded_up(dead), *live])
    assert before <= after
    assert math.isclose(before, after, rel_tol=1e-15)


@given(AMOUNTS, st.lists(st.floats(0, 1e300), min_size=1, max_size=4))
def test_folding_one_by_one_makes_no_sum_fall(first: list[float], others: list[float]) -> None:
    """However often the archive takes another one in, the whole never falls."""
    archive, rest = total_rounded_up(first), list(others)
    whole = total([*first, *others])
    while rest:
        archive = total_rounded_up([archive, rest.pop()])
        assert whole <= total([archive, *rest])
        whole = total([archive, *rest])


def test_the_order_does_not_matter() -> None:
    """Workers that are listed in another order have the same sum, where adding one by one has another."""
    parts = [0.1, 0.2, 0.3, 1e16, 1.0]
    assert len({sum(order) for order in permutations(parts)}) > 1
    assert len({total(order) for order in permutations(parts)}) == 1


def test_ints_stay_ints() -> None:
    """A sum that saw only ints is an int, exactly; one float makes it a float."""
    assert (total([2**60, 1]), type(total([2**60, 1]))) == (2**60 + 1, int)
    assert type(total([1, 1.0])) is float
    assert (total_rounded_up([2, 3]), type(total_rounded_up([2, 3]))) == (5, int)


def test_what_is_too_large_becomes_infinite() -> None:
    """A sum beyond the largest float is infinity, and no error."""
    assert total([1e308, 1e308]) == total_rounded_up([1e308, 1e308]) == math.inf
    assert total([math.inf, 1.0]) == math.inf
