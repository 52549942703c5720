"""Arithmetic of base-2 exponential histograms, held against the official SDK's mapping and aggregation."""

import math
import tracemalloc
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.exponent_mapping import ExponentMapping
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import (
    LogarithmMapping,
)

from telemetry.sdk.exponential import (
    MAX_SCALE,
    MIN_SCALE,
    ExponentialWindow,
    bucket_index,
    difference,
    downscale_counts,
    merge,
    scale_change,
    trim,
    unwrap,
    wrap,
)
from telemetry.sdk.merged import ExponentialValue

SMALLEST_NORMAL = 2.0**-1022
LARGEST = math.nextafter(math.inf, 0)

# A slow machine is no failure.
unhurried = settings(deadline=None)

scales = st.integers(MIN_SCALE, MAX_SCALE)
positive_floats = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
near_powers_of_two = st.builds(
    lambda exponent, direction: math.nextafter(2.0**exponent, direction) if direction else 2.0**exponent,
    st.integers(-1074, 1023),
    st.sampled_from([0.0, None, LARGEST]),
).filter(lambda value: value > 0)
# Sums of these are exact, and none lies within a rounding error of a bound that is not a power of two.
measurements = st.integers(-(2**46), 2**46).map(lambda numerator: numerator / 64)
max_sizes = st.sampled_from([2, 3, 4, 5, 20, 160])
ranges = st.tuples(
    st.integers(-(2**20), 2**20), st.lists(st.integers(0, 3), max_size=40).map(tuple[int, ...])
)


def official_index(value: float, scale: int) -> int:
    """The official SDK's index of a value."""
    mapping = ExponentMapping(scale) if scale <= 0 else LogarithmMapping(scale)
    return mapping.map_to_index(value)


def observe(values: Iterable[float], max_size: int, max_scale: int = MAX_SCALE) -> ExponentialValue:
    """Observe values one by one through two windows, as a writer does."""
    seen = list(values)
    positive, negative = (ExponentialWindow(max_size, max_scale) for _ in range(2))
    slots = {positive: [0] * max_size, negative: [0] * max_size}
    for value in seen:
        if value == 0:
            continue
        window = positive if value > 0 else negative
        while (slot := window.place(abs(value))) < 0:
            for each in (positive, negative):
                moved = downscale_counts(*unwrap(each.start, slots[each]), -slot)
                slots[each] = wrap(*moved, max_size)
                each.rescale(-slot)
        slots[window][slot] += 1
    assert positive.scale == negative.scale
    return ExponentialValue(
        len(seen),
        sum(seen),
        min(seen, default=None),
        max(seen, default=None),
        positive.scale,
        seen.count(0),
        *unwrap(positive.start, slots[positive]),
        *unwrap(negative.start, slots[negative]),
    )


def counted(offset: int, counts: Sequence[int]) -> dict[int, int]:
    """A range as index → count, without zeros."""
    return {index: count for index, count in enumerate(counts, offset) if count}


def comparable(value: ExponentialValue) -> ExponentialValue:
    """A value whose counts compare equal whichever sequence they are."""
    return value._replace(positive=tuple(value.positive), negative=tuple(value.negative))


@unhurried
@given(st.one_of(positive_floats, near_powers_of_two), scales)
def test_bucket_index_is_the_official_sdks(value: float, scale: int) -> None:
    """Any float falls into the bucket that the official SDK chooses, at every scale."""
    assert official_index(value, scale) == bucket_index(value, scale)


@unhurried
@given(st.integers(-1021, 1023), scales)
def test_bucket_index_is_exact_at_powers_of_two(exponent: int, scale: int) -> None:
    """A power of two is the upper bound of its bucket: (lower, upper]."""
    assert math.ceil(Fraction(exponent) * Fraction(2) ** scale) - 1 == bucket_index(2.0**exponent, scale)


@pytest.mark.parametrize("scale", range(MIN_SCALE, MAX_SCALE + 1))
def test_subnormals_share_the_bucket_of_the_smallest_normal(scale: int) -> None:
    """Nothing below the smallest normal number has a bucket of its own, and nothing leaves 32 bits."""
    smallest = math.nextafter(0, 1)
    assert bucket_index(SMALLEST_NORMAL, scale) == bucket_index(smallest, scale)
    assert bucket_index(smallest, scale) >= -(2**31)
    assert bucket_index(LARGEST, scale) < 2**31


@unhurried
@given(st.integers(-(2**30), 2**30), st.integers(0, 2**30), st.integers(2, 160))
def test_scale_change_is_the_least_that_fits(low: int, width: int, max_size: int) -> None:
    """The indices fit after the change, and did not after one less."""
    high = low + width
    change = scale_change(low, high, max_size)
    assert (high >> change) - (low >> change) < max_size
    assert change == 0 or (high >> change - 1) - (low >> change - 1) >= max_size


@unhurried
@given(ranges)
def test_trim(buckets: tuple[int, tuple[int, ...]]) -> None:
    """Trimming keeps every count at its index and leaves no zero at an end."""
    offset, counts = trim(*buckets)
    assert counted(*buckets) == counted(offset, counts)
    assert (counts[0] and counts[-1]) if counts else offset == 0


@unhurried
@given(ranges, st.integers(0, 12))
def test_downscale_counts_moves_each_count_to_the_wider_bucket(
    buckets: tuple[int, tuple[int, ...]], change: int
) -> None:
    """A bucket of the lower scale counts what the 2^change buckets within it counted."""
    expected: dict[int, int] = {}
    for index, count in counted(*buckets).items():
        expected[index >> change] = expected.get(index >> change, 0) + count
    assert expected == counted(*downscale_counts(*buckets, change))


@unhurried
@given(ranges, st.integers(0, 5), st.integers(0, 5))
def test_circular_slots_give_back_their_range(
    buckets: tuple[int, tuple[int, ...]], before: int, after: int
) -> None:
    """A range put into circular slots is read back from any start whose window contains it."""
    offset, counts = trim(*buckets)
    size = len(counts) + before + after + 1
    assert (offset, tuple(counts)) == (
        (found := unwrap(offset - before, wrap(offset, counts, size)))[0],
        tuple(found[1]),
    )


@unhurried
@given(st.lists(measurements, max_size=40), max_sizes, scales)
def test_a_window_never_holds_more_than_its_buckets(
    values: list[float], max_size: int, max_scale: int
) -> None:
    """Whatever is observed, nothing is lost and both ranges stay within max_size buckets."""
    value = observe(values, max_size, max_scale)
    assert len(values) == value.zero_count + sum(value.positive) + sum(value.negative)
    assert max(len(value.positive), len(value.negative)) <= max_size
    assert value.scale <= max_scale


def test_a_window_says_what_change_it_needs() -> None:
    """A value too far from the others changes nothing until the window is rescaled."""
    window = ExponentialWindow(4, 0)
    assert [bucket_index(3, 0) % 4, bucket_index(16, 0) % 4] == [window.place(3), window.place(16)]
    assert -scale_change(1, 9, 4) == window.place(1000)
    assert (window.start, window.end, window.scale) == (1, 3, 0)
    window.rescale(2)
    assert (window.start, window.end, window.scale) == (0, 0, -2)
    assert window.place(1000) == 2


@unhurried
@given(st.lists(st.lists(measurements, max_size=12), min_size=1, max_size=5), max_sizes)
def test_merge_equals_observing_everything_in_one_histogram(parts: list[list[float]], max_size: int) -> None:
    """Histograms merge to what a single one says that saw all of their values."""
    expected = observe([value for part in parts for value in part], max_size)
    assert comparable(expected) == comparable(merge([observe(part, max_size) for part in parts], max_size))


def test_merge_of_far_values_allocates_no_more_than_their_buckets() -> None:
    """Two values a billion buckets apart at the finest scale merge without a list of a billion counts."""
    far = [observe([value], 160) for value in (SMALLEST_NORMAL, LARGEST)]
    tracemalloc.start()
    merged = merge(far, 160)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(merged.positive) <= 160, peak < 100_000) == (True, True)


def test_merge_leaves_unknown_extremes_unknown() -> None:
    """A histogram that counted something without minimum and maximum makes them unknown; an empty one not."""
    known, empty = observe([1.0, 4.0], 160), observe([], 160)
    unknown = observe([2.0], 160)._replace(minimum=None, maximum=None)
    assert merge([known, empty], 160)[2:4] == (1.0, 4.0)
    assert merge([known, unknown], 160)[2:4] == (None, None)
    assert merge([empty], 160)[2:4] == (None, None)


def test_merge_keeps_the_resolution_beside_a_histogram_without_buckets() -> None:
    """Zeros alone say nothing about the scale, whatever scale they were stored with."""
    zeros = observe([0.0], 160)._replace(scale=-3)
    merged = merge([zeros, observe([1.5], 160)], 160)
    assert (merged.scale, merged.zero_count) == (MAX_SCALE, 1)


def test_merge_keeps_the_sum_of_ints_an_int() -> None:
    """A sum that saw only ints is an int."""
    assert isinstance(merge([observe([1, 2], 160), observe([3], 160)], 160).sum, int)


@unhurried
@given(st.lists(measurements, max_size=20), st.lists(measurements, max_size=20), max_sizes)
def test_difference_is_what_was_observed_in_between(
    before: list[float], between: list[float], max_size: int
) -> None:
    """A delta counts the values observed since, at the scale of the whole."""
    whole = observe([*before, *between], max_size)
    delta = difference(whole, observe(before, max_size))
    expected = observe(between, max_size, whole.scale)
    assert comparable(expected._replace(minimum=None, maximum=None)) == comparable(delta)


def test_difference_to_a_histogram_that_began_anew_is_the_whole() -> None:
    """Where a count fell there is nothing to subtract, and no count becomes negative."""
    previous = observe([1.0, 1.0, 300.0], 160)
    current = observe([1.0], 160)
    assert current._replace(minimum=None, maximum=None) == difference(current, previous)
    assert current._replace(minimum=None, maximum=None) == difference(current, observe([1.0, 1.0], 160))
    zeros = observe([0.0, 0.0], 160)
    assert current._replace(minimum=None, maximum=None) == difference(current, zeros)
