"""Executions of killed workers, in the SDK alone: counted once, whatever the worker was doing."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.view import View

from telemetry.exposition import exposition
from telemetry.instruments import Instruments
from telemetry.interrupted import SegmentNotes, account_for_interrupted
from telemetry.labels import ExecutionStatus
from telemetry.sdk import MeterProvider
from tests.telemetry.scraping import Series, parse, total, value

Die = Callable[[Instruments, SegmentNotes], None]


def after_death(directory: Path, views: list[View], die: Die) -> Series:
    """Have a forked worker do something and be killed, and return the scrape when it was folded."""
    provider = MeterProvider(views=views, directory=directory, shutdown_on_exit=False)
    instruments = Instruments(provider.get_meter("aoss"))
    notes = SegmentNotes(provider)
    account_for_interrupted(provider, instruments)
    instruments.executions_completed.add(0, completed("unknown", ExecutionStatus.SUCCESS))
    child = os.fork()
    if child == 0:
        try:
            die(instruments, notes)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 10
    while provider.statistics().folded_workers == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    series = parse(exposition(provider)[0].decode())
    provider.shutdown()
    return series


def started(server: str) -> dict[str, str]:
    """Return the attributes of a start."""
    return {"agent_type": "general", "server_tag": server}


def completed(server: str, status: ExecutionStatus) -> dict[str, str]:
    """Return the attributes of a completion."""
    return started(server) | {"status": str(status)}


def test_started_and_not_completed_is_interrupted(tmp_path: Path) -> None:
    """It is counted for its server, with the time that its note tells."""

    def die(instruments: Instruments, notes: SegmentNotes) -> None:
        notes.put("e-1", "general", "web")
        instruments.executions.add(1, started("web"))
        time.sleep(1.2)  # past a heartbeat

    series = after_death(tmp_path, [], die)
    labels = {"agent_type": "general", "status": "Interrupted"}
    assert value(series, "aoss_executions_completed_total", server_tag="web", **labels) == 1
    assert value(series, "aoss_execution_duration_seconds_count", **labels) == 1
    assert 0.2 < total(series, "aoss_execution_duration_seconds_sum", **labels) < 10


@pytest.mark.parametrize("noted", [True, False])
def test_a_kill_between_completed_and_duration_balances(tmp_path: Path, noted: bool) -> None:  # noqa: FBT001
    """A completion whose duration was not recorded any more gets one, with or without a note."""

    def die(instruments: Instruments, notes: SegmentNotes) -> None:
        if noted:
            notes.put("e-1", "general", "web")
        instruments.executions.add(1, started("web"))
        instruments.executions_completed.add(1, completed("web", ExecutionStatus.FAILED))

    series = after_death(tmp_path, [], die)
    labels = {"agent_type": "general", "status": "Failed"}
    assert value(series, "aoss_execution_duration_seconds_count", **labels) == 1
    assert total(series, "aoss_executions_completed_total", status="Interrupted") == 0


def test_a_note_alone_counts_nothing(tmp_path: Path) -> None:
    """Killed after its note and before it was counted as started, an execution has not started."""

    def die(instruments: Instruments, notes: SegmentNotes) -> None:
        notes.put("e-1", "general", "web")
        instruments.executions.add(0, started("web"))

    series = after_death(tmp_path, [], die)
    assert total(series, "aoss_executions_completed_total") == 0


def test_completions_in_the_overflow_are_not_counted_again(tmp_path: Path) -> None:
    """Completed executions reach the limit first; those in the overflow have ended all the same."""
    views = [
        View(instrument_name=name, aggregation_cardinality_limit=8)
        for name in ("aoss.executions", "aoss.executions.completed")
    ]

    def die(instruments: Instruments, _: SegmentNotes) -> None:
        for number in range(8):
            for status in (ExecutionStatus.SUCCESS, ExecutionStatus.FAILED):
                instruments.executions.add(1, started(f"s{number}"))
                instruments.executions_completed.add(1, completed(f"s{number}", status))
        instruments.executions.add(1, started("s0"))

    series = after_death(tmp_path, views, die)
    assert total(series, "aoss_executions_total") == 17
    assert total(series, "aoss_executions_completed_total") == 17
