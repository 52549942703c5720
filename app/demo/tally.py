"""Counts what the streams told, and what /metrics says rose meanwhile: the two must agree."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from app.top.exposition import Exposition, labels_of, name_of
from telemetry.catalogue import (
    COMPLIANCE_CHECKS,
    EXECUTION_DURATION,
    EXECUTION_ERRORS,
    EXECUTION_STEPS,
    EXECUTIONS,
    EXECUTIONS_COMPLETED,
    SELF_HEALING_ATTEMPTS,
)

Labels = tuple[tuple[str, str], ...]
Counts = Counter[tuple[str, Labels]]

STARTED = EXECUTIONS.prometheus_name
ENDED = EXECUTIONS_COMPLETED.prometheus_name
DURATIONS = f"{EXECUTION_DURATION.prometheus_name}_count"
STEPS = EXECUTION_STEPS.prometheus_name
ERRORS = EXECUTION_ERRORS.prometheus_name
HEALINGS = SELF_HEALING_ATTEMPTS.prometheus_name
CHECKS = COMPLIANCE_CHECKS.prometheus_name

# By sample name: the label that the summary tells apart, and how its lines begin.
_LINES = {
    STARTED: ("", "executions started"),
    ENDED: ("status", "executions ended"),
    DURATIONS: ("", "durations measured"),
    STEPS: ("status", "steps"),
    ERRORS: ("error_type", "errors"),
    HEALINGS: ("success", "healings, success"),
    CHECKS: ("decision", "commands"),
}


class Line(NamedTuple):
    """One line of the summary; `agree` is judged by agent type, not only by the sums."""

    what: str
    told: int
    measured: int | None
    agree: bool


def count(agent_type: str, events: Iterable[dict[str, Any]]) -> Counts:
    """Return what the AOSS counters must say of an execution with these events."""
    counts: Counts = Counter()

    def add(name: str, **labels: str) -> None:
        counts[name, _labels({"agent_type": agent_type, **labels})] += 1

    add(STARTED)
    for event in events:
        match event["type"]:
            case "step_start":
                add(CHECKS, decision=event["compliance"]["decision"])
            case "step_result":
                add(STEPS, status=event["result"]["status"])
            case "healing_result":
                add(HEALINGS, success=str(event["success"]).lower())
            case "complete":
                add(ENDED, status=event["final_status"])
                add(DURATIONS)
        if event["type"] in ("step_result", "error") and (kind := event["result"].get("error_type")):
            add(ERRORS, error_type=kind)
    return counts


def increase(before: Exposition, after: Exposition) -> Counts:
    """Return by how much the AOSS counters rose between two scrapes, summed over labels not counted here."""
    rose: Counts = Counter()
    for exposition, sign in ((after, 1), (before, -1)):
        for series, value in exposition.series.items():
            name = name_of(series)
            if name in _LINES:
                labels = labels_of(series)
                kept = {key: labels[key] for key in ("agent_type", _LINES[name][0]) if key in labels}
                rose[name, _labels(kept)] += sign * round(value)
    return rose


def lines(told: Counts, measured: Counts | None) -> list[Line]:
    """Return the summary without lines that are 0 on both sides; `measured` is None where it is not known."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, (label, title) in _LINES.items():
        keys = sorted(key for key in {*told, *(measured or ())} if key[0] == name)
        for key in keys:
            pair = told[key], (measured or told)[key]
            value = dict(key[1]).get(label, "")
            found.setdefault(f"{title}: {value}" if value else title, []).append(pair)
    return [
        Line(
            what,
            sum(one for one, _ in pairs),
            sum(other for _, other in pairs) if measured is not None else None,
            all(one == other for one, other in pairs),
        )
        for what, pairs in found.items()
        if any(one or other for one, other in pairs)
    ]


def _labels(pairs: dict[str, str]) -> Labels:
    return tuple(sorted(pairs.items()))
