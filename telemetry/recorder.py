"""From an execution's events to measurements: one object per execution, which cannot be left unbalanced."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from telemetry.exemplars import with_execution
from telemetry.instruments import Instruments, attribute_value
from telemetry.interrupted import ExecutionNotes, NoNotes, Note
from telemetry.labels import ErrorType, ExecutionStatus

E = TypeVar("E")


class _StepStart(Protocol):
    @property
    def decision(self) -> str: ...
    @property
    def rule(self) -> str: ...


class _StepResult(Protocol):
    @property
    def status(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def error_type(self) -> str | None: ...


class _HealingResult(Protocol):
    @property
    def success(self) -> bool: ...


class _Error(Protocol):
    @property
    def error_type(self) -> str: ...


class _Complete(Protocol):
    @property
    def final_status(self) -> str: ...


def measure_execution(
    instruments: Instruments,
    events: AsyncIterator[E],
    *,
    agent_type: str,
    server_tag: str,
    execution: str = "",
    notes: ExecutionNotes | None = None,
) -> AbstractAsyncContextManager[AsyncIterator[E]]:
    """Measure an execution: enter when it starts, and iterate over what entering yields.

    The iterator gives the same events, each measured before it is given. Whoever leaves before the `complete`
    event ends the execution: as `Failed`, with a `system_error`, if an exception went through the stream or
    the block, otherwise as `Interrupted`. Leaving closes the stream. With its id, the durations' exemplars
    name the execution; with notes, it is accounted for even if the process is killed. A failure inside
    telemetry is reported and never reaches the caller; exceptions of the stream pass through unchanged.
    """
    return _MeasuredEvents(
        _Execution(instruments, agent_type, server_tag, execution, notes or NoNotes()), events
    )


def record_error(instruments: Instruments, error_type: str, agent_type: str) -> None:
    """Count an error that no execution carries, such as a planner's failure before one starts."""
    instruments.execution_errors.add(
        1, {"error_type": attribute_value(error_type), "agent_type": attribute_value(agent_type)}
    )


class _MeasuredEvents(Generic[E]):
    """The events of one execution, measured on their way through."""

    def __init__(self, execution: "_Execution", events: AsyncIterator[E]) -> None:
        self._execution = execution
        self._events = events
        self._failed = False

    async def __aenter__(self) -> AsyncIterator[E]:
        self._execution.start()
        return self

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            raise
        except Exception:
            # The caller may handle it inside the block and leave in good order.
            self._failed = True
            raise
        self._execution.measure(event)
        return event

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            aclose = getattr(self._events, "aclose", None)
            if aclose is not None:
                await aclose()
        finally:
            self._execution.leave(failed=self._failed or isinstance(error, Exception))


class _Execution:
    """The measurements of one execution. The order matters to whoever reads while it is written:

    the note, executions, active; completed, duration, active, the note.
    """

    def __init__(
        self,
        instruments: Instruments,
        agent_type: str,
        server_tag: str,
        execution: str,
        notes: ExecutionNotes,
    ) -> None:
        self._to = instruments
        self._execution = execution
        self._notes = notes
        self._note: Note = NoNotes()
        self._context = with_execution(execution) if execution else None
        self._agent = {"agent_type": attribute_value(agent_type)}
        self._server = {**self._agent, "server_tag": attribute_value(server_tag)}
        self._steps: dict[str, dict[str, str]] = {}
        self._checks: dict[tuple[str, str], dict[str, str]] = {}
        self._started = 0.0
        self._ended = False

    def start(self) -> None:
        self._started = perf_counter()
        self._note = self._notes.put(self._execution, self._agent["agent_type"], self._server["server_tag"])
        self._to.executions.add(1, self._server)
        self._to.active_executions.add(1, self._agent)

    def measure(self, event: Any) -> None:
        kind = "of no type"
        try:
            kind = event.type
            measure = _MEASURE.get(kind)
            if measure is not None:
                measure(self, event)
        except Exception:  # noqa: BLE001 - telemetry never raises into its caller
            self._to.failures.report(f"event {kind}")

    def leave(self, *, failed: bool) -> None:
        if self._ended:
            return
        if failed:
            self._error(ErrorType.SYSTEM)
        self._end(ExecutionStatus.FAILED if failed else ExecutionStatus.INTERRUPTED)

    def step_start(self, event: _StepStart) -> None:
        attributes = self._checks.get((event.decision, event.rule))
        if attributes is None:
            attributes = {
                **self._agent,
                "decision": attribute_value(event.decision),
                "rule": attribute_value(event.rule),
            }
            self._checks[event.decision, event.rule] = attributes
        self._to.compliance_checks.add(1, attributes)

    def step_result(self, event: _StepResult) -> None:
        attributes = self._steps.get(event.status)
        if attributes is None:
            attributes = {**self._agent, "status": attribute_value(event.status)}
            self._steps[event.status] = attributes
        self._to.execution_steps.add(1, attributes)
        self._to.execution_step_duration.record(event.duration, attributes, self._context)
        if event.error_type:
            self._error(event.error_type)

    def healing_result(self, event: _HealingResult) -> None:
        self._to.self_healing_attempts.add(
            1, {**self._agent, "success": "true" if event.success else "false"}
        )

    def error_event(self, event: _Error) -> None:
        self._error(event.error_type)

    def complete(self, event: _Complete) -> None:
        self._end(event.final_status)

    def _error(self, error_type: str) -> None:
        self._to.execution_errors.add(1, {"error_type": attribute_value(error_type), **self._agent})

    def _end(self, status: str) -> None:
        if self._ended:
            return
        self._ended = True
        status = attribute_value(status)
        self._to.executions_completed.add(1, {**self._server, "status": status})
        self._to.execution_duration.record(
            perf_counter() - self._started, {**self._agent, "status": status}, self._context
        )
        self._to.active_executions.add(-1, self._agent)
        self._note.clear()


_MEASURE: dict[str, Callable[[_Execution, Any], None]] = {
    "step_start": _Execution.step_start,
    "step_result": _Execution.step_result,
    "healing_result": _Execution.healing_result,
    "error": _Execution.error_event,
    "complete": _Execution.complete,
}
