"""All lines of one histogram's series at once."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from telemetry.exposition import text
from telemetry.exposition.naming import Escaping
from telemetry.sdk.merged import ExemplarValue, HistogramValue

# Stand for the labels of a series; no text that is written contains them.
_AFTER_LE = "\x00"
_ALONE = "\x01"


class HistogramLines:
    """A pattern of the lines of a histogram with these bounds; only labels and values differ by series.

    So the series keep nothing but their labels: the lines themselves would take some 2 KB each.
    """

    def __init__(self, name: str, bounds: Sequence[float], *, created: bool) -> None:
        bucket = text.head(f"{name}_bucket")
        self._bounds = bounds
        self._count = text.head(f"{name}_count")
        self._buckets = "".join(
            [f"{_pattern(text.with_le(bucket, bound))}{_AFTER_LE}%s\n" for bound in (*bounds, math.inf)]
        )
        self._sums = f"{_pattern(self._count)}{_ALONE}%s\n{_pattern(text.head(f'{name}_sum'))}{_ALONE}%s\n"
        self._created = f"{_pattern(text.head(f'{name}_created'))}{_ALONE}%s\n" if created else ""

    def lines(
        self,
        labels: str,
        value: HistogramValue,
        *,
        summed: bool,
        start: int = 0,
        exemplars: Sequence[ExemplarValue] = (),
        escaping: Escaping = Escaping.UNDERSCORES,
    ) -> str:
        """Return a series' lines; OpenMetrics wants neither sum nor count where a sum may fall."""
        counts: list[object] = list(accumulate(value.buckets))
        # What the buckets hold is the count: a reader that saw them differ would refuse the scrape.
        values = [*counts, counts[-1], text.number(value.sum)] if summed else counts
        pattern = self._buckets + self._sums if summed else self._buckets
        if self._created and start > 0:
            pattern += self._created
            values = [*values, text.created(start)]
        for position, exemplar in self._largest(exemplars).items():
            values[position] = f"{values[position]}{text.exemplar(exemplar, escaping)}"
        alone = _pattern(text.sample(self._count, labels)[len(self._count) :])
        after_le = f",{_pattern(labels)}}} " if labels else "} "
        return pattern.replace(_ALONE, alone).replace(_AFTER_LE, after_le) % tuple(values)

    def _largest(self, exemplars: Sequence[ExemplarValue]) -> dict[int, ExemplarValue]:
        """Return by bucket the exemplar with the largest value. Source: compatibility, "Exemplars"."""
        found: dict[int, ExemplarValue] = {}
        for exemplar in sorted(exemplars, key=lambda exemplar: exemplar.value):
            found[bisect_left(self._bounds, exemplar.value)] = exemplar
        return found


def _pattern(literal: str) -> str:
    return literal.replace("%", "%%")
