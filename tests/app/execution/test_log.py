"""An execution's log: numbered lines, shown once published, dropped once stored."""

import json

from app.execution.events import AgentSummary, Complete, Summarizing
from app.execution.log import KEEP_BYTES, ExecutionLog
from telemetry.labels import ExecutionStatus


def test_lines_are_numbered_and_valid_json() -> None:
    """Each line carries its type, the execution and a gapless number; odd text stays valid UTF-8."""
    log = ExecutionLog("e" * 32)
    first = log.append(Summarizing())
    second = log.append(AgentSummary("lone \ud800 surrogate, NUL \0, newline \n"))
    assert (first[0], second[0]) == (1, 2)
    assert json.loads(first[1]) == {"type": "summarizing", "execution_id": "e" * 32, "seq": 1}
    assert json.loads(second[1])["content"] == "lone ? surrogate, NUL \0, newline \n"
    assert b"\n" not in second[1]


def test_only_published_lines_are_shown() -> None:
    """A reader sees a line once it is published, and is woken by that."""
    log = ExecutionLog("e" * 32)
    changed = log.changed
    log.append(Summarizing())
    assert log.after(0) == []
    log.publish(1)
    assert changed.is_set()
    shown = log.after(0)
    assert shown is not None
    assert len(shown) == 1
    assert log.after(1) == []
    assert log.after(7) == []


def test_stored_lines_are_dropped_when_they_are_many() -> None:
    """Memory is bounded: lines that the store has are dropped, and readers are sent there."""
    log = ExecutionLog("e" * 32)
    for _ in range(6):
        log.append(AgentSummary("x" * (KEEP_BYTES // 4)))
    log.commit(5)
    assert log.after(0) is None
    kept = log.after(3)
    assert kept is not None
    assert len(kept) == 2


def test_unstored_lines_are_kept_whatever_their_size() -> None:
    """Lines that the store does not have yet are never dropped."""
    log = ExecutionLog("e" * 32)
    for _ in range(6):
        log.append(AgentSummary("x" * KEEP_BYTES))
    log.publish(6)
    kept = log.after(0)
    assert kept is not None
    assert len(kept) == 6


def test_complete() -> None:
    """The log is complete with the last event."""
    log = ExecutionLog("e" * 32)
    assert not log.complete
    log.append(Complete("e" * 32, ExecutionStatus.SUCCESS))
    assert log.complete
