"""Adds the series of scrapes up to groups, and keeps how much each group rose in the last minute."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.top.exposition import labels_of, name_of
from app.top.scrape import Scrape
from telemetry.catalogue import CATALOGUE

WINDOW_SECONDS = 60.0

# Of the metrics of AOSS these labels are kept apart; everything else is summed over all its labels.
_AOSS_LABELS = ("agent_type", "status", "success", "error_type", "le")
_AOSS = tuple(each.prometheus_name for each in CATALOGUE)
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_gcount", "_gsum", "_info")


class Group(NamedTuple):
    """What is added up: a sample name, the type of its family, and the labels that are kept."""

    name: str
    family: str
    type: str
    labels: tuple[tuple[str, str], ...]

    @property
    def rises(self) -> bool:
        """Return whether it can only go up, but for a restart."""
        if self.type == "histogram":
            return self.name.endswith(("_bucket", "_count", "_sum"))
        if self.type == "summary":
            return self.name.endswith(("_count", "_sum"))
        return self.type == "counter" and not self.name.endswith("_created")

    @property
    def is_gauge(self) -> bool:
        """Return whether it is a value of its own, shown as it is."""
        return self.type in ("gauge", "unknown", "untyped")


@dataclass(slots=True)
class Gauge:
    """The values of a gauge's series: how many, the least and the greatest."""

    series: int = 0
    least: float = math.inf
    greatest: float = -math.inf

    def add(self, value: float) -> None:
        """Take one more series into account."""
        self.series += 1
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)


@dataclass(slots=True)
class _Increase:
    at: float
    by_group: Counter[Group] = field(default_factory=Counter)
    moved: set[str] = field(default_factory=set)


class Tally:
    """What the last scrape says, and what rose in the last WINDOW_SECONDS.

    A series that goes down has begun again at 0, as in PromQL. One that the scrape before lacked counts from
    0, unlike there: two seconds ago its first event had not happened.
    """

    def __init__(self) -> None:
        self.totals: Counter[Group] = Counter()
        self.gauges: dict[str, Gauge] = {}
        self.moved: Counter[str] = Counter()
        self.increases: Counter[Group] = Counter()
        self.seconds = 0.0
        self._groups: dict[str, Group] = {}
        self._types: Mapping[str, str] = {}
        self._previous: Mapping[str, float] | None = None
        self._window: deque[_Increase] = deque()

    def add(self, scrape: Scrape) -> None:
        """Take a scrape into account; scrapes come in the order of time."""
        if scrape.exposition.types != self._types:
            self._types = scrape.exposition.types
            self._groups.clear()
        series = scrape.exposition.series
        if len(self._groups) > 2 * len(series):
            self._groups.clear()
        totals: Counter[Group] = Counter()
        gauges: dict[str, Gauge] = {}
        increase = _Increase(scrape.at)
        previous = self._previous
        for key, value in series.items():
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = self._group_of(key)
            if math.isnan(value):
                continue
            if group.is_gauge:
                gauges.setdefault(group.name, Gauge()).add(value)
                if previous is not None and value != previous.get(key):
                    increase.moved.add(group.name)
            totals[group] += value  # type: ignore[assignment]
            if previous is not None and group.rises:
                before = previous.get(key, 0.0)
                rise = value - before if value >= before else value
                if rise:
                    increase.by_group[group] += rise  # type: ignore[assignment]
        self.totals, self.gauges, self._previous = totals, gauges, series
        self._keep(increase)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a sample name, of the series that carry at least these labels."""
        return _sum(self.totals, name, labels)

    def increase(self, name: str, **labels: str) -> float:
        """Return by how much that sum has risen in the window."""
        return _sum(self.increases, name, labels)

    def values(self, name: str, label: str) -> list[str]:
        """Return the values of a label that is kept, in order."""
        return sorted(
            {dict(group.labels).get(label, "") for group in self.totals if group.name == name} - {""}
        )

    def buckets(self, family: str, of: Mapping[Group, float], **labels: str) -> dict[float, float]:
        """Return a histogram's cumulative buckets by upper bound, of `totals` or `increases`."""
        found: dict[float, float] = {}
        wanted = labels.items()
        # Of those that did not rise the bounds are wanted all the same: a quantile lies between two.
        for group in self.totals:
            if group.name == f"{family}_bucket" and wanted <= dict(group.labels).items():
                bound = _number(dict(group.labels).get("le", ""))
                found[bound] = found.get(bound, 0.0) + of.get(group, 0.0)
        return found

    def _group_of(self, key: str) -> Group:
        name = name_of(key)
        family, kind = self._family_of(name)
        keep: Iterable[str] = ()
        if name.startswith(_AOSS):
            keep = _AOSS_LABELS
        elif kind == "histogram" and name.endswith("_bucket"):
            keep = ("le",)
        labels = labels_of(key) if keep else {}
        return Group(name, family, kind, tuple((label, labels[label]) for label in keep if label in labels))

    def _family_of(self, name: str) -> tuple[str, str]:
        if name in self._types:
            return name, self._types[name]
        for suffix in _SUFFIXES:
            family = name.removesuffix(suffix)
            if family != name and family in self._types:
                return family, self._types[family]
        return name, "unknown"

    def _keep(self, increase: _Increase) -> None:
        window = self._window
        window.append(increase)
        # The first one says since when: what rose in it rose before.
        while len(window) > 2 and increase.at - window[1].at >= WINDOW_SECONDS:
            window.popleft()
        self.increases, self.moved = Counter(), Counter()
        for each in list(window)[1:]:
            self.increases.update(each.by_group)
            self.moved.update(each.moved)
        self.seconds = increase.at - window[0].at


def _sum(of: Mapping[Group, float], name: str, labels: Mapping[str, str]) -> float:
    wanted = labels.items()
    return sum(
        value for group, value in of.items() if group.name == name and wanted <= dict(group.labels).items()
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def quantile(share: float, buckets: Mapping[float, float]) -> float:
    """Return a quantile, interpolated as PromQL's histogram_quantile does; NaN without observations.

    Infinity where it lies above the greatest finite bound: how far above, the buckets do not say.
    """
    bounds = sorted(bound for bound in buckets if not math.isnan(bound))
    if not bounds or bounds[-1] != math.inf or not buckets[math.inf]:
        return math.nan
    rank = share * buckets[math.inf]
    lower, below = 0.0, 0.0
    for bound in bounds:
        # Never less than the bucket before, which workers read one after the other could make it.
        count = max(buckets[bound], below)
        if count >= rank and count > below:
            if bound == math.inf:
                return math.inf
            if bound <= 0 and lower == 0:
                return bound
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return math.nan
