"""The report at the end of an execution, in plain words."""

from collections.abc import Sequence

from app.execution.events import RECOVERY_STEP, ExecutionError, StepResult
from app.planners.plan import Step
from telemetry.labels import ExecutionStatus, StepStatus

EXCERPT_CHARACTERS = 300

_OPENING = {
    ExecutionStatus.SUCCESS: "Everything that was planned on {server} worked.",
    ExecutionStatus.FAILED: "The plan on {server} failed.",
    ExecutionStatus.CANCELLED: "The plan on {server} was cancelled.",
    ExecutionStatus.INTERRUPTED: "The plan on {server} was interrupted: the backend is shutting down.",
}


def summarize(
    server: str,
    plan: Sequence[Step],
    results: Sequence[StepResult],
    status: ExecutionStatus,
    error: ExecutionError | None,
) -> str:
    """Return the report: the outcome, a line a command, what was healed, and what was not run."""
    lines = [_OPENING[status].format(server=server), ""]
    lines += [_line(result, plan) for result in results]
    begun = max((result.step for result in results if result.step != RECOVERY_STEP), default=0)
    if begun < len(plan):
        lines.append(f"- not run: {_count(len(plan) - begun)} of {len(plan)}")
    if error:
        lines += ["", f"The backend itself failed: {error.stderr}"]
    failed = results[-1] if results and results[-1].status is StepStatus.FAILED else None
    if failed and status is not ExecutionStatus.SUCCESS:
        excerpt = (failed.stderr or failed.stdout).strip()[-EXCERPT_CHARACTERS:]
        if excerpt:
            lines += ["", f"The last words of `{failed.command[:EXCERPT_CHARACTERS]}`:", excerpt]
    return "\n".join(lines)


def _line(result: StepResult, plan: Sequence[Step]) -> str:
    if result.step == RECOVERY_STEP:
        name = f"recovery `{result.command[:EXCERPT_CHARACTERS]}`"
    else:
        step = plan[result.step - 1]
        name = f"step {result.step}, {step.description or result.command[:EXCERPT_CHARACTERS]}"
    outcome = "ok" if result.status is StepStatus.SUCCESS else f"failed with exit code {result.exit_code}"
    return f"- {name}: {outcome} in {result.duration:.1f} s"


def _count(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"
