"""The events of an execution: what the stream shows, the store keeps and the recorder measures."""

from dataclasses import dataclass
from typing import Any, ClassVar

from telemetry.labels import Decision, ErrorType, ExecutionStatus, StepStatus

RECOVERY_STEP = 999


@dataclass(frozen=True, slots=True)
class StepStart:
    """A command has been judged by compliance and, if allowed, starts."""

    type: ClassVar[str] = "step_start"
    step: int
    command: str
    decision: Decision
    rule: str

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {
            "step": self.step,
            "command": self.command,
            "compliance": {"decision": self.decision, "rule": self.rule},
        }


@dataclass(frozen=True, slots=True)
class StepResult:
    """A command has ended, or was denied. `duration` is in seconds."""

    type: ClassVar[str] = "step_result"
    step: int
    command: str
    status: StepStatus
    exit_code: int
    stdout: str
    stderr: str
    duration: float
    error_type: ErrorType | None = None
    signal: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {
            "status": "success" if self.status is StepStatus.SUCCESS else "failure",
            "result": {
                "command": self.command,
                "exit_code": self.exit_code,
                "signal": self.signal,
                "stdout": self.stdout,
                "stderr": self.stderr,
                "status": self.status,
                "step": self.step,
                "duration": round(self.duration, 6),
                "error_type": self.error_type,
            },
        }


@dataclass(frozen=True, slots=True)
class HealingStart:
    """A failed step is about to be healed."""

    type: ClassVar[str] = "healing_start"
    stderr: str

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {"stderr": self.stderr}


@dataclass(frozen=True, slots=True)
class HealingPlan:
    """The recovery steps, as JSON text."""

    type: ClassVar[str] = "healing_plan"
    stdout: str

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {"stdout": self.stdout}


@dataclass(frozen=True, slots=True)
class HealingResult:
    """A healing attempt is over; it succeeded only if the failed step's goal was reached."""

    type: ClassVar[str] = "healing_result"
    success: bool

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {"success": self.success}


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """Something other than a command failed: no session, the planner, the engine itself."""

    type: ClassVar[str] = "error"
    stderr: str
    error_type: ErrorType

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {
            "result": {
                "command": "System Execution Error",
                "exit_code": 999,
                "stdout": "",
                "stderr": self.stderr,
                "status": StepStatus.FAILED,
                "error_type": self.error_type,
            }
        }


@dataclass(frozen=True, slots=True)
class Summarizing:
    """The steps are over and the report is being written."""

    type: ClassVar[str] = "summarizing"

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {}


@dataclass(frozen=True, slots=True)
class AgentSummary:
    """The report."""

    type: ClassVar[str] = "agent_summary"
    content: str

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {"content": self.content}


@dataclass(frozen=True, slots=True)
class Complete:
    """The execution has ended; always the last event."""

    type: ClassVar[str] = "complete"
    log_id: str
    final_status: ExecutionStatus

    def fields(self) -> dict[str, Any]:
        """Return the wire fields."""
        return {"log_id": self.log_id, "final_status": self.final_status}


Event = (
    StepStart
    | StepResult
    | HealingStart
    | HealingPlan
    | HealingResult
    | ExecutionError
    | Summarizing
    | AgentSummary
    | Complete
)
