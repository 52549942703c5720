"""rate() and histogram_quantile() over stored samples, worked out from Prometheus' documentation.

Source: Prometheus, "Query functions", `rate` and `histogram_quantile`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence


def rate(points: Sequence[tuple[float, float]], start: float, end: float) -> float | None:
    """Return a counter's increase a second over the seconds from `start` to `end`.

    `points` are the pairs of time and value in between, oldest first. None where there are fewer than two.
    """
    if len(points) < 2:
        return None
    (first_time, first), (last_time, last) = points[0], points[-1]
    increase = last - first
    for (_, before), (_, after) in itertools.pairwise(points):
        if after < before:
            increase += before  # a reset: the counter went on from 0
    sampled = last_time - first_time
    spacing = sampled / (len(points) - 1)
    before_first, after_last = first_time - start, end - last_time
    # Far from a bound, the series is taken to begin or end half a spacing beyond its samples.
    if before_first >= 1.1 * spacing:
        before_first = spacing / 2
    if after_last >= 1.1 * spacing:
        after_last = spacing / 2
    if increase > 0:
        # Never further back than where the line through the samples meets zero.
        before_first = min(before_first, sampled * first / increase)
    return increase * (sampled + before_first + after_last) / sampled / (end - start)


def quantile(share: float, buckets: Mapping[float, float]) -> float:
    """Return the value below which a share of the observations lies; `buckets` are counts or rates by `le`.

    NaN where nothing was observed. Within a bucket the observations are taken to lie evenly.
    """
    bounds = sorted(buckets)
    assert bounds[-1] == math.inf, "a histogram ends with the bucket of everything"
    rank = share * buckets[math.inf]
    if not rank:
        return math.nan
    index = next(index for index, bound in enumerate(bounds) if buckets[bound] >= rank)
    if bounds[index] == math.inf:
        return bounds[index - 1]
    lower, below = (bounds[index - 1], buckets[bounds[index - 1]]) if index else (0.0, 0.0)
    return lower + (bounds[index] - lower) * (rank - below) / (buckets[bounds[index]] - below)
