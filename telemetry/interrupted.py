"""Executions that a killed worker was running: counted as Interrupted when its segment is folded.

A worker notes each execution in its segment from before it is counted until after all of it is: id, persona,
server and start. What it has started and not completed when it dies is then known to the unit, whatever the
instant; the note gives the time that it ran.
"""

import json
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from telemetry.instruments import Instruments
from telemetry.labels import ExecutionStatus
from telemetry.sdk import Correction, DeadWorker, MeterProvider
from telemetry.sdk.merged import HistogramValue, SeriesAttributes, Value

_INTERRUPTED = str(ExecutionStatus.INTERRUPTED)


class Note(Protocol):
    """A note in the worker's segment."""

    def clear(self) -> None:
        """Take it away."""


class ExecutionNotes(Protocol):
    """Where a running execution is noted, so that it can be accounted for when its worker is killed."""

    def put(self, execution: str, agent_type: str, server_tag: str) -> Note:
        """Note a running execution."""


class NoNotes:
    """Notes of a provider that forgets with its worker anyway."""

    def put(self, execution: str, agent_type: str, server_tag: str) -> "NoNotes":
        """Do nothing."""
        del execution, agent_type, server_tag
        return self

    def clear(self) -> None:
        """Do nothing."""


class SegmentNotes:
    """Notes in the segment of this worker."""

    def __init__(self, provider: MeterProvider) -> None:
        self._notes = provider.notes

    def put(self, execution: str, agent_type: str, server_tag: str) -> Note:
        """Note a running execution."""
        return self._notes.put(json.dumps([execution, agent_type, server_tag, time.time_ns()]).encode())


class _Noted(NamedTuple):
    agent_type: str
    server_tag: str
    started: int


def account_for_interrupted(provider: MeterProvider, instruments: Instruments) -> None:
    """Have every dead worker's unfinished executions counted as Interrupted, with the time that they ran."""

    def corrections(dead: DeadWorker) -> Iterator[Correction]:
        noted = list(_noted(dead.notes))
        begun = dead.points(instruments.executions.instrument)
        started = _tally(begun, "agent_type", "server_tag")
        ended = dead.points(instruments.executions_completed.instrument)
        missing = started - _tally(ended, "agent_type", "server_tag")
        durations = _tally(ended, "agent_type", "status")
        durations.subtract(
            _tally(dead.points(instruments.execution_duration.instrument), "agent_type", "status")
        )
        # Beyond the limit it is not known which ones have ended, but how many.
        elsewhere = max(0, _unplaced(ended) - _unplaced(begun))
        for (agent_type, server_tag), unmatched in missing.items():
            count = max(0, unmatched - elsewhere)
            elsewhere -= unmatched - count
            if not count:
                continue
            attributes = {"agent_type": agent_type, "server_tag": server_tag, "status": _INTERRUPTED}
            yield Correction(instruments.executions_completed.instrument, count, attributes)
            durations[agent_type, _INTERRUPTED] += count
        for (agent_type, status), count in durations.items():
            attributes = {"agent_type": agent_type, "status": status}
            for _ in range(count):
                seconds = _time_of_one(noted, agent_type, dead.heartbeat)
                yield Correction(instruments.execution_duration.instrument, seconds, attributes)

    provider.add_fold_hook(corrections)


def _tally(points: Iterable[tuple[SeriesAttributes, Value]], *keys: str) -> "Tally[tuple[str, ...]]":
    """Add up the points of a counter, or the counts of a histogram, by the values of some attributes."""
    found: Tally[tuple[str, ...]] = Tally()
    for attributes, value in points:
        count = value.count if isinstance(value, HistogramValue) else value
        if isinstance(count, int) and all(key in attributes for key in keys):
            found[tuple(str(attributes[key]) for key in keys)] += count
    return found


def _unplaced(points: Iterable[tuple[SeriesAttributes, Value]]) -> int:
    """Count what is beyond the cardinality limit of a counter."""
    return sum(
        value for attributes, value in points if "agent_type" not in attributes and isinstance(value, int)
    )


def _noted(notes: Iterable[bytes]) -> Iterator[_Noted]:
    for payload in notes:
        with suppress(ValueError, TypeError):
            _, agent_type, server_tag, started = json.loads(payload)
            yield _Noted(str(agent_type), str(server_tag), int(started))


def _time_of_one(noted: list[_Noted], agent_type: str, heartbeat: int) -> float:
    """Take a noted execution of an agent type; return the seconds to its worker's last sign of life."""
    for place, note in enumerate(noted):
        if note.agent_type == agent_type:
            del noted[place]
            return max(0.0, (heartbeat - note.started) / 1e9)
    return 0.0
