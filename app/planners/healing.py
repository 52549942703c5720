"""The embedded healer: choose the next remedy for a failed step.

A recovery never repeats the failed command as it was without a step before it that changes or waits for
something, and is never offered twice for the same failed step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.planners import remedies
from app.planners.plan import Attempt, Failure, PlanRequest, Step
from app.planners.remedies import Recovery
from telemetry.labels import ErrorType

STDERR_LINES = 100
STDERR_LINE_LENGTH = 500


def recover(request: PlanRequest, failure: Failure, earlier: Sequence[Attempt]) -> Recovery:
    """Return the next recovery that has not been tried yet, none if no further remedy is known.

    A recovery step that failed is healed itself, and what was left of its recovery follows.
    """
    tried = {_commands(attempt.recovery) for attempt in earlier}
    for recovery in _candidates(request, failure, earlier):
        repeats = recovery[0].replaces and recovery[0].command == failure.command
        if _commands(recovery) not in tried and not repeats:
            return recovery
    return ()


def _candidates(request: PlanRequest, failure: Failure, earlier: Sequence[Attempt]) -> Iterator[Recovery]:
    if earlier:
        recovery, remaining = tuple(earlier[-1].recovery), earlier[-1].failure
        for index, step in enumerate(recovery):
            if step.command == remaining.command != failure.command:
                for fix in _remedies(request, remaining):
                    yield _repaired(step, fix) + recovery[index + 1 :]
    yield from _remedies(request, failure)


def _remedies(request: PlanRequest, failure: Failure) -> Iterator[Recovery]:
    # A denied command, a time-out or a lost session is none of the failures that are known here.
    if failure.error_type is ErrorType.COMMAND:
        failure = replace(failure, stderr=_telling(failure.stderr))
        for remedy in remedies.ALL:
            yield from remedy(failure, allow_changes=request.allow_changes)


def _telling(stderr: str) -> str:
    """Return the beginning and the end of an output, lines cut.

    A mebibyte that a command made up could keep the patterns, and with them the worker, busy for minutes.
    """
    lines = stderr.splitlines()
    if len(lines) > 2 * STDERR_LINES:
        lines = lines[:STDERR_LINES] + lines[-STDERR_LINES:]
    return "\n".join(line[:STDERR_LINE_LENGTH] for line in lines)


def _repaired(step: Step, fix: Recovery) -> Recovery:
    """Return a fix of a recovery step, ended by the step itself or by what stands in for it."""
    if not fix[-1].replaces:
        return (*fix, step)
    return (*fix[:-1], replace(fix[-1], replaces=step.replaces, changes=fix[-1].changes or step.changes))


def _commands(recovery: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.command for step in recovery)
