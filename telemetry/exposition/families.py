"""Which streams are shown as one metric family, and the text of their series, kept from scrape to scrape.

Source: Prometheus and OpenMetrics compatibility, "Metric Metadata", on conflicts.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import AnyValue

from telemetry.exposition import text
from telemetry.exposition.naming import TOTAL, Escaping, metric_name, unit_word
from telemetry.sdk.merged import DataKind, MergedStream, SeriesAttributes

_logger = logging.getLogger(__name__)

# New series whose text is made in one slice of work: each costs several times a line.
SLICE = 128

_HISTOGRAMS = (DataKind.HISTOGRAM, DataKind.EXPONENTIAL_HISTOGRAM)
_SUFFIXES = {
    "counter": ("", TOTAL, "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "info": ("", "_info"),
}


class Complaints:
    """Warnings that are logged once each, however often the reason for them is met."""

    def __init__(self) -> None:
        self._made: set[tuple[str, str]] = set()

    def make(self, message: str, name: str) -> None:
        """Log a warning about the metric that its message's %s stands for."""
        if (message, name) not in self._made:
            self._made.add((message, name))
            _logger.warning(message, name)


class Family:
    """One metric family: the streams that share its name, and their series' text."""

    def __init__(self, name: str, kind: str, streams: Sequence[MergedStream], start: str) -> None:
        self.name = name
        self.kind = kind
        self.start = start
        self.attributes = [stream.attributes for stream in streams]
        # Of a histogram the labels, which all of its lines share; of others the sample up to its value.
        self.texts: list[list[str]] = [[] for _ in streams]
        # (stream, series) that look like an earlier (stream, series).
        self.duplicates: list[tuple[int, int, int, int]] = []
        self._seen: dict[str, int] = {}

    def holds(self, kind: str, streams: Sequence[MergedStream]) -> bool:
        """Return whether the text was made of these streams' attributes."""
        return kind == self.kind and [id(stream.attributes) for stream in streams] == [
            id(attributes) for attributes in self.attributes
        ]

    def catch_up(
        self, place: int, length: int, constant: SeriesAttributes, escaping: Escaping
    ) -> Iterator[str]:
        """Make the text of a stream's first `length` series where it is missing; yield after each slice."""
        texts, attributes = self.texts[place], self.attributes[place]
        # Another scrape may go on with the same list between two slices.
        while len(texts) < length:
            first = len(texts)
            for index in range(first, min(first + SLICE, length)):
                shown = {**constant, **attributes[index]} if constant else attributes[index]
                if self.kind == "histogram":
                    label_text = text.labels(shown, escaping, reserved="le")
                else:
                    label_text = text.sample(self.start, text.labels(shown, escaping))
                earlier = self._seen.setdefault(label_text, index * len(self.texts) + place)
                original, stream = divmod(earlier, len(self.texts))
                if (stream, original) != (place, index):
                    self.duplicates.append((place, index, stream, original))
                texts.append(label_text)
            yield ""


class FamilyStreams:
    """A family as one scrape shows it."""

    def __init__(self, family: Family, streams: list[MergedStream], description: str, unit: str) -> None:
        self.family = family
        self.streams = streams
        self.description = description
        self.unit = unit

    def answers(self, names: frozenset[str]) -> bool:
        """Return whether one of these is the family's name or that of its samples."""
        name = self.family.name
        return any(name + suffix in names for suffix in _SUFFIXES[self.family.kind])


class Families:
    """The families of one format and one escaping; text is kept only of streams that the last scrape had."""

    def __init__(self, escaping: Escaping, complaints: Complaints, *, openmetrics: bool) -> None:
        self._escaping = escaping
        self._complaints = complaints
        self._openmetrics = openmetrics
        self._kept: dict[str, Family] = {}

    def of(self, streams: Sequence[MergedStream]) -> list[FamilyStreams]:
        """Return the families of these streams, without the metrics that conflict with an earlier one.

        A stream without series is no metric yet and takes no name.
        """
        groups: dict[str, tuple[str, str, list[MergedStream]]] = {}
        for stream in streams:
            if not stream.attributes:
                continue
            kind = _type(stream)
            full = self._full_name(stream, kind)
            name = full.removesuffix(TOTAL) if self._openmetrics and kind == "counter" else full
            known = groups.setdefault(name, (kind, full, []))
            if known[0] == kind:
                known[2].append(stream)
            else:
                self._complaints.make("the metric %s is left out: another of its name has another type", name)
        shown = self._without_clashes(groups)
        self._kept = {families.family.name: families.family for families in shown}
        return shown

    def _without_clashes(
        self, groups: Mapping[str, tuple[str, str, list[MergedStream]]]
    ) -> list[FamilyStreams]:
        taken = set(self._names("target" if self._openmetrics else "target_info", "info"))
        shown = []
        for name, (kind, full, streams) in groups.items():
            names = self._names(name, kind)
            if not taken.isdisjoint(names):
                self._complaints.make("the metric %s is left out: another has samples of its name", name)
                continue
            taken.update(names)
            family = self._kept.get(name)
            if family is None or not family.holds(kind, streams):
                family = Family(name, kind, streams, text.head(full))
            description = self._first(name, [stream.description for stream in streams], "description")
            unit = self._first(name, [_unit(stream) for stream in streams], "unit")
            shown.append(FamilyStreams(family, streams, description, unit))
        return shown

    def _full_name(self, stream: MergedStream, kind: str) -> str:
        return metric_name(stream.name, _unit(stream), self._escaping, counter=kind == "counter")

    def _names(self, name: str, kind: str) -> list[str]:
        if self._openmetrics:
            return [name + suffix for suffix in _SUFFIXES[kind]]
        return [name + suffix for suffix in (_SUFFIXES[kind][:4] if kind == "histogram" else ("",))]

    def _first(self, name: str, said: Sequence[str], what: str) -> str:
        different = list(dict.fromkeys(filter(None, said)))
        if len(different) > 1:
            self._complaints.make(f"the metric %s has more than one {what}: the first is shown", name)
        return different[0] if different else ""


def _type(stream: MergedStream) -> str:
    if stream.kind in _HISTOGRAMS:
        return "histogram"
    return "counter" if stream.kind is DataKind.SUM and stream.is_monotonic else "gauge"


def _unit(stream: MergedStream) -> str:
    return unit_word(stream.unit, gauge=stream.kind is DataKind.GAUGE)


def scope_labels(scope: InstrumentationScope) -> dict[str, AnyValue]:
    """Return the labels that name a scope. Source: compatibility, "Instrumentation Scope"."""
    attributes = {f"otel_scope_{key}": value for key, value in (scope.attributes or {}).items()}
    return {
        **attributes,
        "otel_scope_name": scope.name or "",
        "otel_scope_version": scope.version or "",
        "otel_scope_schema_url": scope.schema_url or "",
    }
