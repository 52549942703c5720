"""The step loop: run a plan on a server, heal what fails, and tell every step as an event."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from app.compliance.compliance import Compliance
from app.errors import PlannerError, SessionError
from app.execution.events import (
    RECOVERY_STEP,
    AgentSummary,
    Complete,
    Event,
    ExecutionError,
    HealingPlan,
    HealingResult,
    HealingStart,
    StepResult,
    StepStart,
    Summarizing,
)
from app.execution.report import EXCERPT_CHARACTERS, summarize
from app.execution.stop import Stop, StoppedError
from app.planners.plan import Attempt, Failure, Planner, PlanRequest, Step
from app.runners.base import CommandResult, Outcome, Runner, Session, Target
from telemetry.labels import Decision, ErrorType, ExecutionStatus, StepStatus

MAX_HEALINGS = 3
DENIED_EXIT_CODE = 126
NO_SESSION_EXIT_CODE = 255

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted execution: what to run, where, and for which request."""

    execution_id: str
    request: PlanRequest
    plan: Sequence[Step]
    target: Target


class Engine:
    """Run jobs; it holds no state of any of them."""

    def __init__(
        self,
        planner: Planner,
        runners: Mapping[str, Runner],
        compliance: Compliance,
        *,
        command_timeout_seconds: float,
    ) -> None:
        self.planner = planner
        self.runners = runners
        self.compliance = compliance
        self.command_timeout_seconds = command_timeout_seconds

    async def run(self, job: Job, stop: Stop) -> AsyncGenerator[Event]:
        """Yield the events of one execution; a generator that runs to its end ends with Complete."""
        run = _Run(self, job, stop)
        status = ExecutionStatus.FAILED
        error: ExecutionError | None = None
        try:
            async with aclosing(run.plan()) as events:
                async for event in events:
                    yield event
            if run.unhealed is None:
                status = ExecutionStatus.SUCCESS
        except StoppedError:
            status = stop.status or ExecutionStatus.INTERRUPTED
        except Exception as unexpected:
            log.exception("the engine failed", execution_id=job.execution_id)
            error = ExecutionError(f"{type(unexpected).__name__}: {unexpected}", ErrorType.SYSTEM)
        finally:
            await run.close()
        if stop.status and not error:
            # Asked for after the last command, while the session was closed: it was promised all the same.
            status = stop.status
        if error:
            yield error
        yield Summarizing()
        yield AgentSummary(summarize(job.target.tag, job.plan, run.results, status, error))
        yield Complete(job.execution_id, status)


class _Run:
    """The state of one execution."""

    def __init__(self, engine: Engine, job: Job, stop: Stop) -> None:
        self._engine = engine
        self._job = job
        self._stop = stop
        self._session: Session | None = None
        self._healings = 0
        self._no_session = False
        self._last: StepResult
        self.results: list[StepResult] = []
        self.unhealed: StepResult | None = None

    async def plan(self) -> AsyncGenerator[Event]:
        """Run the steps in order until one fails and cannot be healed."""
        for number, step in enumerate(self._job.plan, start=1):
            async with aclosing(self._command(number, step)) as events:
                async for event in events:
                    yield event
            failed = self._last
            if failed.status is StepStatus.SUCCESS:
                continue
            self.unhealed = failed
            async with aclosing(self._heal(step, failed)) as events:
                async for event in events:
                    yield event
            if self.unhealed:
                return

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _command(self, number: int, step: Step) -> AsyncGenerator[Event]:
        if self._stop.event.is_set():
            raise StoppedError
        verdict = self._engine.compliance.check(step.command)
        yield StepStart(number, step.command, verdict.decision, verdict.rule)
        if verdict.decision is Decision.DENIED:
            result = self._failure(
                number,
                step,
                DENIED_EXIT_CODE,
                f"Denied by compliance rule {verdict.rule}: {verdict.reason}",
                ErrorType.COMPLIANCE,
            )
        else:
            result = await self._execute(number, step)
        self._last = result
        # Up to 2 MiB each: the report needs their last words only.
        self.results.append(
            replace(
                result, stdout=result.stdout[-EXCERPT_CHARACTERS:], stderr=result.stderr[-EXCERPT_CHARACTERS:]
            )
        )
        yield result
        if self._stop.event.is_set():
            raise StoppedError

    async def _execute(self, number: int, step: Step) -> StepResult:
        try:
            session = self._session
            if session is None:
                session = await self._unless_stopped(self._connect())
        except SessionError as error:
            self._no_session = True
            return self._failure(number, step, NO_SESSION_EXIT_CODE, str(error), error.error_type)
        except StoppedError:
            return self._failure(number, step, NO_SESSION_EXIT_CODE, "Stopped before it began", None)
        result = await session.run(
            step.command, time_limit=self._engine.command_timeout_seconds, stop=self._stop.event
        )
        self._no_session = result.outcome is Outcome.LOST
        return StepResult(
            step=number,
            command=step.command,
            status=StepStatus.SUCCESS if _succeeded(result) else StepStatus.FAILED,
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            duration=result.duration,
            error_type=_error_type(result),
            signal=result.signal,
        )

    async def _connect(self) -> Session:
        target = self._job.target
        runner = self._engine.runners.get(target.runner)
        if runner is None:
            raise SessionError(f"{target.tag}: the {target.runner} runner is switched off here")
        self._session = await runner.connect(target)
        return self._session

    async def _heal(self, step: Step, failed: StepResult) -> AsyncGenerator[Event]:
        """Try to reach the failed step's goal; clear `unhealed` where that worked."""
        earlier: list[Attempt] = []
        while self.unhealed and self._healings < MAX_HEALINGS and not self._no_session:
            self._healings += 1
            yield HealingStart(failed.stderr)
            failure = _seen_by_planner(step, failed)
            try:
                recovery = await self._unless_stopped(
                    self._engine.planner.recover(self._job.request, failure, earlier)
                )
                yield HealingPlan(_as_json(recovery))
                async with aclosing(self._recover(step, recovery)) as events:
                    async for event in events:
                        yield event
            except PlannerError as error:
                yield ExecutionError(str(error), ErrorType.PLANNER)
                yield HealingResult(success=False)
                return
            except Exception:
                # Stopped, or a defect: the attempt is over and did not help.
                yield HealingResult(success=False)
                raise
            yield HealingResult(success=self.unhealed is None)
            if not recovery:
                return
            remaining = self._last
            earlier.append(Attempt(recovery, _seen_by_planner(step, remaining)))
            if remaining.command == step.command:
                failed = remaining

    async def _recover(self, step: Step, recovery: Sequence[Step]) -> AsyncGenerator[Event]:
        """Run the recovery steps, then the failed command again unless one of them replaces it."""
        commands = list(recovery)
        if commands and not any(each.replaces for each in commands):
            commands.append(step)
        for each in commands:
            async with aclosing(self._command(RECOVERY_STEP, each)) as events:
                async for event in events:
                    yield event
            if self._last.status is StepStatus.FAILED:
                return
        if commands:
            self.unhealed = None

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.event.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StoppedError
            return task.result()
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    @staticmethod
    def _failure(
        number: int, step: Step, exit_code: int, stderr: str, error_type: ErrorType | None
    ) -> StepResult:
        return StepResult(
            step=number,
            command=step.command,
            status=StepStatus.FAILED,
            exit_code=exit_code,
            stdout="",
            stderr=stderr,
            duration=0.0,
            error_type=error_type,
        )


def _succeeded(result: CommandResult) -> bool:
    return result.outcome is Outcome.EXITED and result.exit_code == 0


def _error_type(result: CommandResult) -> ErrorType | None:
    match result.outcome:
        case Outcome.TIMED_OUT:
            return ErrorType.TIMEOUT
        case Outcome.LOST:
            return ErrorType.CONNECTION
        case Outcome.STOPPED:
            # Someone stopped it: the step failed, but nothing went wrong.
            return None
        case Outcome.EXITED:
            return None if result.exit_code == 0 else ErrorType.COMMAND


def _seen_by_planner(step: Step, failed: StepResult) -> Failure:
    return Failure(
        command=failed.command,
        description=step.description,
        exit_code=failed.exit_code,
        stdout=failed.stdout,
        stderr=failed.stderr,
        error_type=failed.error_type,
    )


def _as_json(recovery: Sequence[Step]) -> str:
    return json.dumps(
        [
            {
                "step": RECOVERY_STEP,
                "command": step.command,
                "description": step.description,
                "changes": step.changes,
                "replaces": step.replaces,
            }
            for step in recovery
        ],
        ensure_ascii=False,
    )
