"""A merge as text, in slices: each costs about as much as 512 lines."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard, cast

from telemetry.exposition import text
from telemetry.exposition.buckets import classic, classic_bounds
from telemetry.exposition.duplicates import Points, combine
from telemetry.exposition.families import Complaints, Families, Family, FamilyStreams, scope_labels
from telemetry.exposition.histograms import HistogramLines
from telemetry.exposition.negotiation import Exposition, Format
from telemetry.sdk.merged import ExponentialValue, HistogramValue, Merged, SeriesAttributes, Value

LINES = 512
_CHARACTERS = 64 * LINES


class Renderer:
    """Writes merges in one format and one escaping, and keeps the label text from one to the next.

    Not for several threads; several renderings may take turns slice by slice.
    """

    def __init__(
        self,
        exposition: Exposition,
        complaints: Complaints,
        *,
        scope_labels: bool,
        created_timestamps: bool,
    ) -> None:
        self._escaping = exposition.escaping
        self._openmetrics = exposition.format is Format.OPENMETRICS_1_0_0
        self._created = created_timestamps and self._openmetrics
        self._scope_labels = scope_labels
        self._complaints = complaints
        self._families = Families(exposition.escaping, complaints, openmetrics=self._openmetrics)

    def render(self, merged: Merged, names: frozenset[str] = frozenset()) -> Iterator[bytes]:
        """Return an iterator over the parts of the text, some of them empty, a slice of work each.

        What the merge holds is taken at once. `names` are families or samples to be shown, all if empty.
        """
        families = self._families.of(merged.streams)
        points = [[Points.of(stream) for stream in shown.streams] for shown in families]
        return self._parts(self._target_info(merged.resource.attributes), families, points, names)

    def _parts(
        self,
        target_info: str,
        families: Sequence[FamilyStreams],
        points: Sequence[list[Points]],
        names: frozenset[str],
    ) -> Iterator[bytes]:
        pieces = [target_info] if not names or not names.isdisjoint(("target", "target_info")) else []
        size = 0
        for shown, shown_points in zip(families, points, strict=True):
            if names and not shown.answers(names):
                continue
            comments = self._comments(shown)
            for piece in self._family(shown, shown_points):
                if piece:
                    pieces.append(comments + piece)
                    comments = ""
                size += len(piece)
                # An empty piece is work too.
                if size >= _CHARACTERS or not piece:
                    yield "".join(pieces).encode()
                    pieces, size = [], 0
        if self._openmetrics:
            pieces.append("# EOF\n")
        yield "".join(pieces).encode()

    def _target_info(self, attributes: SeriesAttributes) -> str:
        if not attributes:
            return ""
        name, kind = ("target", "info") if self._openmetrics else ("target_info", "gauge")
        comments = text.comments(name, kind, "Target metadata", "", openmetrics=self._openmetrics)
        return f"{comments}{text.sample('target_info', text.labels(attributes, self._escaping))}1\n"

    def _comments(self, shown: FamilyStreams) -> str:
        family = shown.family
        return text.comments(
            family.name, family.kind, shown.description, shown.unit, openmetrics=self._openmetrics
        )

    def _family(self, shown: FamilyStreams, points: list[Points]) -> Iterator[str]:
        """Yield text of whole lines, or none, after each slice of work."""
        family = shown.family
        for place, stream in enumerate(shown.streams):
            constant = scope_labels(stream.scope) if self._scope_labels else {}
            yield from family.catch_up(place, len(points[place].values), constant, self._escaping)
            if family.kind == "histogram":
                for bounds in classic_bounds(stream, points[place].values):
                    if bounds is None:
                        yield ""
                    else:
                        points[place] = replace(points[place], bounds=bounds)
        if family.duplicates:
            yield from combine(shown, points, self._complaints)
        for texts, stream_points in zip(family.texts, points, strict=True):
            if family.kind == "histogram":
                yield from self._histograms(family, texts, stream_points)
            else:
                yield from self._numbers(family, texts, stream_points)

    def _numbers(self, family: Family, texts: Sequence[str], points: Points) -> Iterator[str]:
        counter = family.kind == "counter"
        exemplars = points.exemplars if counter and self._openmetrics else {}
        lowest = 0.0 if counter and self._openmetrics else -math.inf
        for start in range(0, len(points.values), LINES):
            part = points.values[start : start + LINES]
            if not exemplars and not (counter and self._created) and _plain(part, lowest):
                shown = zip(texts[start : start + LINES], part, strict=False)
                yield "".join([f"{label}{value}\n" for label, value in shown])
                continue
            lines = []
            for index, value in enumerate(part, start):
                if not isinstance(value, int | float):
                    continue
                # A strict parser refuses the whole scrape.
                if counter and self._openmetrics and not value >= 0:
                    self._complaints.make(
                        "series of %s are left out: a counter must be 0 or more", family.name
                    )
                    continue
                line = f"{texts[index]}{text.number(value)}"
                if index in exemplars:
                    newest = max(exemplars[index], key=lambda exemplar: exemplar.time_unix_nano)
                    line += text.exemplar(newest, self._escaping)
                lines.append(f"{line}\n")
                if counter and self._created and points.starts[index] > 0:
                    created = text.head(f"{family.name}_created") + texts[index][len(family.start) :]
                    lines.append(f"{created}{text.created(points.starts[index])}\n")
            yield "".join(lines)

    def _histograms(self, family: Family, texts: Sequence[str], points: Points) -> Iterator[str]:
        bounds = points.bounds
        lines = HistogramLines(family.name, bounds.upper, created=self._created)
        # A sum over negative values may fall, which a counter must not.
        summed = not bounds.upper or bounds.upper[0] >= 0
        step = max(1, LINES // (len(bounds.upper) + 3))
        for start in range(0, len(points.values), step):
            pieces = []
            for index, value in enumerate(points.values[start : start + step], start):
                if not isinstance(value, HistogramValue | ExponentialValue):
                    continue
                shown = classic(value, bounds)
                pieces.append(
                    lines.lines(
                        texts[index],
                        shown,
                        summed=summed and (shown.sum >= 0 or not self._openmetrics),
                        start=points.starts[index],
                        exemplars=points.exemplars.get(index, ()) if self._openmetrics else (),
                        escaping=self._escaping,
                    )
                )
            yield "".join(pieces)


def _plain(part: Sequence[Value | None], lowest: float) -> TypeGuard[Sequence[float]]:
    """Return whether all values are finite numbers that print as they are, none below the lowest."""
    kinds = set(map(type, part))
    if not kinds <= {int, float}:
        return False
    numbers = cast("Sequence[float]", part)
    # One that is not finite makes the sum so.
    return (kinds == {int} or math.isfinite(sum(numbers))) and (lowest == -math.inf or min(numbers) >= lowest)
