"""Series that look alike once their names are translated, shown as one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from telemetry.exposition.buckets import Bounds, added, classic
from telemetry.exposition.families import Complaints, FamilyStreams
from telemetry.sdk.merged import (
    DataKind,
    ExemplarValue,
    ExponentialValue,
    HistogramValue,
    MergedStream,
    Value,
)

SLICE = 128
NO_BOUNDS = Bounds(())


@dataclass(frozen=True)
class Points:
    """What one merge says of a stream's series; the bounds are those that a histogram is shown under."""

    kind: DataKind
    values: Sequence[Value | None]
    starts: Sequence[int]
    exemplars: Mapping[int, Sequence[ExemplarValue]]
    bounds: Bounds = NO_BOUNDS

    @classmethod
    def of(cls, stream: MergedStream) -> "Points":
        """Return a stream's points."""
        return cls(stream.kind, stream.values, stream.starts, stream.exemplars)


def combine(shown: FamilyStreams, points: list[Points], complaints: Complaints) -> Iterator[str]:
    """Let the first of series that look alike stand for all, in `points`; yield after each slice of work.

    Sums and histograms are added. Gauges have no sum: the last stays. Histograms with other bounds cannot be
    added: the first stays, and that is logged.
    """
    duplicates = list(shown.family.duplicates)
    places = {place for duplicate in duplicates for place in (duplicate[0], duplicate[2])}
    # The merge's own belong to other scrapes as well.
    values = {place: list(points[place].values) for place in places}
    starts = {place: list(points[place].starts) for place in places}
    exemplars = {place: dict(points[place].exemplars) for place in places}
    for done, (place, index, there, first) in enumerate(duplicates):
        # The text may be ahead of this merge: another scrape may have shown a later one.
        if index < len(values[place]) and first < len(values[there]) and values[place][index] is not None:
            try:
                values[there][first] = _sum(
                    points[there], values[there][first], points[place], values[place][index]
                )
            except _OtherBoundsError:
                complaints.make(
                    "of series of %s that look alike some are left out: their bounds differ",
                    shown.family.name,
                )
            values[place][index] = None
            starts[there][first] = min(starts[there][first], starts[place][index])
            if index in exemplars[place]:
                known = exemplars[there].get(first, ())
                exemplars[there][first] = [*known, *exemplars[place][index]]
        if done % SLICE == SLICE - 1:
            yield ""
    for place in places:
        points[place] = replace(
            points[place], values=values[place], starts=starts[place], exemplars=exemplars[place]
        )


class _OtherBoundsError(Exception):
    pass


def _sum(there: Points, known: Value | None, here: Points, value: Value | None) -> Value | None:
    if there.bounds != here.bounds:
        raise _OtherBoundsError
    if known is None:
        return value
    if isinstance(known, HistogramValue | ExponentialValue):
        if not isinstance(value, HistogramValue | ExponentialValue):
            return known
        return added(classic(known, there.bounds), classic(value, here.bounds))
    if isinstance(value, int | float) and there.kind is here.kind is DataKind.SUM:
        return known + value
    return value
