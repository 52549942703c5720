"""Recoveries of recoveries, and failures that have none."""

import time

import pytest

from app.planners.healing import recover
from app.planners.plan import Attempt, Failure, Step
from app.planners.runbook_planner import RunbookPlanner
from telemetry.labels import ErrorType
from tests.app.planners.failures import LOOK_ONLY, MAY_CHANGE, failed, missing


def test_failed_recovery_step_is_healed_itself() -> None:
    """An installation that meets a lock is waited for and repeated; the update before it is not."""
    failure = missing("tree /etc", "tree")
    first = recover(MAY_CHANGE, failure, [])
    locked = failed(first[1].command, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held", 100)
    second = recover(MAY_CHANGE, failure, [Attempt(first, locked)])
    assert second[0].description == "Wait up to 60 s until /var/lib/dpkg/lock-frontend is free"
    assert first[1:] == second[1:]


def test_refused_recovery_step_does_not_stand_in_for_the_goal() -> None:
    """sudo for a recovery step leaves the failed command to be run again: only that reaches the goal."""
    failure = missing("tree /etc", "tree")
    first = recover(MAY_CHANGE, failure, [])
    refused = failed("mv a b", "mv: cannot move 'a' to 'b': Permission denied")
    second = recover(MAY_CHANGE, failure, [Attempt((Step("mv a b", changes=True),), refused)])
    assert second[0].command == "sudo -n bash -c 'mv a b'"
    assert not any(step.replaces for step in second)
    assert first != second


def test_failed_replacement_is_healed_itself() -> None:
    """A replacement whose program is absent too gets its own, which still replaces the failed command."""
    failure = missing("python -m pip list", "python")
    first = recover(MAY_CHANGE, failure, [])
    second = recover(MAY_CHANGE, failure, [Attempt(first, missing(first[0].command, "python3"))])
    assert "python3" in second[-2].command
    assert first[0] == second[-1]


@pytest.mark.parametrize("error_type", [ErrorType.TIMEOUT, ErrorType.COMPLIANCE, ErrorType.CONNECTION, None])
def test_other_errors_have_no_remedy(error_type: ErrorType | None) -> None:
    """A denied, timed-out, stopped or lost command is not healed, whatever its output says."""
    failure = Failure("netstat -an", "", 127, "", "bash: line 1: netstat: command not found", error_type)
    assert recover(MAY_CHANGE, failure, []) == ()


@pytest.mark.parametrize(
    ("command", "stderr"),
    [
        ("false", ""),
        ("ls /nowhere", "ls: cannot access '/nowhere': No such file or directory"),
        ("curl http://x/y", "curl: (22) The requested URL returned error: 404: not found"),
        ("grep x y", "grep: y: Is a directory"),
    ],
)
def test_unknown_failure_has_no_remedy(command: str, stderr: str) -> None:
    """A failure that is none of the known ones is left as it is."""
    assert recover(MAY_CHANGE, failed(command, stderr), []) == ()


def test_message_is_found_at_either_end_of_a_flood() -> None:
    """What the shell said is read from the beginning and from the end of a long output."""
    said, flood = "bash: line 1: netstat: command not found\n", "x\n" * 100_000
    for stderr in (said + flood, flood + said):
        assert recover(LOOK_ONLY, failed("netstat -an", stderr), [])[0].command == "ss -an"


@pytest.mark.parametrize("text", ["cannot create ", "cannot create a '", ": 1: a", "failed to run command '"])
def test_hostile_output_does_not_stall_the_worker(text: str) -> None:
    """A mebibyte made to measure for the patterns is read in a moment."""
    began = time.process_time()
    assert recover(MAY_CHANGE, failed("true", text * (1024 * 1024 // len(text))), []) == ()
    assert time.process_time() - began < 10


@pytest.mark.parametrize("command", ["sudo " * 13_000, "netstat;" * 8_000, "$(" * 3_000, "'a' " * 16_000])
def test_hostile_command_does_not_stall_the_worker(command: str) -> None:
    """The longest command that a request may hold is read in a moment."""
    began = time.process_time()
    recover(MAY_CHANGE, missing(command, "netstat"), [])
    assert time.process_time() - began < 10


async def test_planner_recovers_by_these_remedies() -> None:
    """The embedded planner's recoveries are these."""
    failure = missing("netstat -an", "netstat")
    assert recover(LOOK_ONLY, failure, []) == await RunbookPlanner().recover(LOOK_ONLY, failure, [])
