"""Draws a tally: as many rows and columns as the terminal has room for."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from app.top.scrape import Scrape
from app.top.tally import Gauge, Group, Tally, quantile
from app.top.units import number, printable, seconds, size, unit_of
from telemetry.catalogue import (
    ACTIVE_EXECUTIONS,
    EXECUTION_DURATION,
    EXECUTION_ERRORS,
    EXECUTION_STEPS,
    EXECUTIONS,
    EXECUTIONS_COMPLETED,
    SELF_HEALING_ATTEMPTS,
)
from telemetry.labels import ExecutionStatus, StepStatus

NOTHING = "-"
GAP = 2
ALL_ROWS = NEVER = 1_000_000


class Column(NamedTuple):
    """A column's heading, and the width of terminal from which it is shown."""

    heading: str
    from_width: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A table whose first heading is its title; its rows come in the order of their weight."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class State:
    """What is known of an address: the last scrape, and since when (time.monotonic) it fails and why."""

    url: str
    scrape: Scrape
    failing: str = ""
    failing_since: float = 0.0

    @property
    def failing_seconds(self) -> float:
        """Return for how long it has failed, 0 where it does not."""
        return time.monotonic() - self.failing_since if self.failing_since else 0.0


class View:
    """The screen of a state and a tally. With `recent`, rates and quantiles are those of the window."""

    def __init__(self, state: State, tally: Tally, *, recent: bool) -> None:
        self._state = state
        self._tally = tally
        self._recent = recent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        height = console.height if self._recent else ALL_ROWS
        yield from (lines := self._heading(width))
        left = height - len(lines)
        if any(group.name == EXECUTIONS.prometheus_name for group in self._tally.totals):
            block, notes = self._agents(), self._notes()
            yield Text()
            yield _table(block, width, ALL_ROWS)
            yield from notes
            left -= 2 + len(block.rows) + len(notes)
        blocks = [block for block in (self._counters(), self._histograms(), self._gauges()) if block.rows]
        # A blank line and a heading go with each, and where there is no room for all, the first are shown.
        blocks = blocks[: max(0, left // 3)]
        for place, block in enumerate(blocks):
            rows = min(len(block.rows), left // (len(blocks) - place) - 2)
            yield Text()
            yield _table(block, width, rows)
            left -= rows + 2

    def _heading(self, width: int) -> list[Text]:
        state, scrape = self._state, self._state.scrape
        title = Text.assemble(
            ("aoss top", "bold"), "  ", printable(state.url), no_wrap=True, overflow="ellipsis"
        )
        if state.failing:
            text = f"no answer for {state.failing_seconds:.0f} s: {printable(state.failing)}"
            status = Text(text, "bold red", no_wrap=True, overflow="ellipsis")
        else:
            form = "OpenMetrics" if scrape.openmetrics else "text format"
            series = f"{len(scrape.exposition.series):,} series"
            seen = f"{series}  {size(scrape.size)}  {seconds(scrape.seconds)}  {form}"
            since = f"  rates over {self._tally.seconds:.0f} s" if self._recent else ""
            status = Text.assemble(
                ("up", "bold green"), f"  {seen}{since}", no_wrap=True, overflow="ellipsis"
            )
        if self._recent:
            gap = max(1, width - title.cell_len - len("q quits"))
            title.append(" " * gap + "q quits", "dim")
        return [title, status]

    def _agents(self) -> Block:
        columns = [
            Column("AGENT"),
            Column("started"),
            Column("active"),
            Column("ok"),
            Column("failed"),
            Column("cancelled", 80),
            Column("interrupted", 90),
            Column("success", 60),
            Column("per min", 70 if self._recent else NEVER),
            Column("p50"),
            Column("p90", 80),
            Column("p99", 70),
        ]
        agents = self._tally.values(EXECUTIONS.prometheus_name, "agent_type")
        return Block(
            columns, [self._agent("all", {}), *(self._agent(each, {"agent_type": each}) for each in agents)]
        )

    def _agent(self, name: str, labels: Mapping[str, str]) -> list[str]:
        total, started = self._tally.total, EXECUTIONS.prometheus_name
        by_status = {
            status: total(EXECUTIONS_COMPLETED.prometheus_name, status=status, **labels)
            for status in ExecutionStatus
        }
        # As in the dashboards: whoever cancels says nothing about success.
        judged = sum(by_status.values()) - by_status[ExecutionStatus.CANCELLED]
        rate = (
            60 * self._tally.increase(started, **labels) / self._tally.seconds if self._tally.seconds else 0.0
        )
        return [
            printable(name),
            number(total(started, **labels)),
            number(total(ACTIVE_EXECUTIONS.prometheus_name, **labels)),
            *(number(value) for value in by_status.values()),
            f"{100 * by_status[ExecutionStatus.SUCCESS] / judged:.1f} %" if judged else NOTHING,
            number(rate),
            *self._quantiles(EXECUTION_DURATION.prometheus_name, seconds, **labels),
        ]

    def _notes(self) -> list[Text]:
        tally, errors, healing = (
            self._tally,
            EXECUTION_ERRORS.prometheus_name,
            SELF_HEALING_ATTEMPTS.prometheus_name,
        )
        steps = EXECUTION_STEPS.prometheus_name
        kinds = {kind: tally.total(errors, error_type=kind) for kind in tally.values(errors, "error_type")}
        counted = ", ".join(f"{printable(kind)} {number(value)}" for kind, value in kinds.items() if value)
        helped, tried = tally.total(healing, success="true"), tally.total(healing)
        done, failed = (
            tally.total(steps, status=StepStatus.SUCCESS),
            tally.total(steps, status=StepStatus.FAILED),
        )
        return [
            Text(f"{what:9}{line}", no_wrap=True, overflow="ellipsis")
            for what, line in (
                ("steps", f"{number(done)} succeeded, {number(failed)} failed"),
                ("healing", f"{number(helped)} of {number(tried)} attempts helped"),
                ("errors", counted or "none"),
            )
        ]

    def _counters(self) -> Block:
        totals, rates = (
            _by_name(self._tally.totals, _counts_events),
            _by_name(self._tally.increases, _counts_events),
        )
        weights = rates if self._recent else totals
        names = sorted(totals, key=lambda name: (-weights.get(name, 0.0), name))
        span = self._tally.seconds or math.inf
        return Block(
            [Column("COUNTERS"), Column("per s", 0 if self._recent else NEVER), Column("total")],
            [[printable(name), number(rates.get(name, 0.0) / span), number(totals[name])] for name in names],
        )

    def _histograms(self) -> Block:
        counts, rates = _by_family(self._tally.totals), _by_family(self._tally.increases)
        weights = rates if self._recent else counts
        span = self._tally.seconds or math.inf
        families = sorted(counts, key=lambda family: (-weights.get(family, 0.0), family))
        return Block(
            [
                Column("HISTOGRAMS"),
                Column("per s", 0 if self._recent else NEVER),
                Column("p50"),
                Column("p90", 70),
                Column("p99"),
                Column("count", 80),
            ],
            [
                [
                    printable(family),
                    number(rates.get(family, 0.0) / span),
                    *self._quantiles(family, unit_of(family)),
                    number(counts[family]),
                ]
                for family in families
            ],
        )

    def _gauges(self) -> Block:
        moved = self._tally.moved
        names = sorted(self._tally.gauges, key=lambda name: (-moved[name], name))
        return Block(
            [Column("GAUGES"), Column("value"), Column("series", 70)],
            [
                [
                    printable(name),
                    _value(self._tally.gauges[name], unit_of(name)),
                    str(self._tally.gauges[name].series),
                ]
                for name in names
            ],
        )

    def _quantiles(self, family: str, unit: Callable[[float], str], **labels: str) -> list[str]:
        of = self._tally.increases if self._recent else self._tally.totals
        buckets = self._tally.buckets(family, of, **labels)
        finite = [bound for bound in self._tally.buckets(family, self._tally.totals) if math.isfinite(bound)]
        shown = []
        for share in (0.5, 0.9, 0.99):
            value = quantile(share, buckets)
            if math.isnan(value):
                shown.append(NOTHING)
            elif math.isinf(value):
                shown.append(f">{unit(max(finite))}" if finite else NOTHING)
            else:
                shown.append(unit(value))
        return shown


def _table(block: Block, width: int, rows: int) -> Table:
    chosen = [index for index, column in enumerate(block.columns) if width >= column.from_width]
    lines = [[column.heading for column in block.columns], *block.rows[:rows]]
    widths = {index: max(len(line[index]) for line in lines) for index in chosen}
    # Numbers are never cut: the name gives way.
    name_width = width - sum(widths[index] + GAP for index in chosen[1:])
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold cyan")
    for index in chosen:
        table.add_column(
            Text(block.columns[index].heading),
            justify="right" if index else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=widths[index] if index else min(widths[index], max(1, name_width)),
        )
    for row in block.rows[:rows]:
        table.add_row(*(Text(row[index]) for index in chosen))
    return table


def _counts_events(group: Group) -> bool:
    return group.rises and group.type != "histogram" and not group.name.endswith("_sum")


def _by_name(of: Mapping[Group, float], wanted: Callable[[Group], bool]) -> dict[str, float]:
    found: dict[str, float] = {}
    for group, value in of.items():
        if wanted(group):
            found[group.name] = found.get(group.name, 0.0) + value
    return found


def _by_family(of: Mapping[Group, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for group, value in of.items():
        if group.type == "histogram" and group.name.endswith("_count"):
            found[group.family] = found.get(group.family, 0.0) + value
    return found


def _value(gauge: Gauge, unit: Callable[[float], str]) -> str:
    if gauge.least == gauge.greatest:
        return unit(gauge.least)
    return f"{unit(gauge.least)} … {unit(gauge.greatest)}"
