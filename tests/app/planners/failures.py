"""Failures for the healer, made up or met for real, and the engine's way of healing them."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from app.planners.healing import recover
from app.planners.plan import Attempt, Failure, PlanRequest, Step
from telemetry.labels import AgentType, ErrorType

LOOK_ONLY = PlanRequest("anything", AgentType.GENERAL, "localhost")
MAY_CHANGE = PlanRequest("anything", AgentType.GENERAL, "localhost", allow_changes=True)


def failed(command: str, stderr: str, exit_code: int = 1) -> Failure:
    """Return a failure as the engine reports it."""
    return Failure(command, "", exit_code, "", stderr, ErrorType.COMMAND)


def missing(command: str, program: str) -> Failure:
    """Return the failure of a command whose program is not there."""
    return failed(command, f"bash: line 1: {program}: command not found\n", 127)


def run(command: str, home: Path, path: str = os.defpath) -> Failure | None:
    """Run a command for real; return its failure, None where it succeeded."""
    ended = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=home,
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if ended.returncode == 0:
        return None
    return Failure(command, "", ended.returncode, ended.stdout, ended.stderr, ErrorType.COMMAND)


def heal(
    request: PlanRequest, failure: Failure, execute: Callable[[str], Failure | None]
) -> list[Sequence[Step]]:
    """Heal as the engine does, at most three times; return the recoveries, the last empty if none is left."""
    recoveries: list[Sequence[Step]] = []
    earlier: list[Attempt] = []
    while len(recoveries) < 3:
        recovery = recover(request, failure, earlier)
        recoveries.append(recovery)
        if not recovery:
            return recoveries
        commands = [step.command for step in recovery]
        if not any(step.replaces for step in recovery):
            commands.append(failure.command)
        remaining = next((left for command in commands if (left := execute(command))), None)
        if remaining is None:
            return recoveries
        earlier.append(Attempt(recovery, remaining))
        if remaining.command == failure.command:
            failure = remaining
    return recoveries
