"""What a planner is asked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from telemetry.labels import AgentType, ErrorType


@dataclass(frozen=True, slots=True)
class Step:
    """One shell command of a plan.

    `changes` marks a step that alters the server; `replaces` marks a recovery step that stands in for the
    failed command, which is then not run again.
    """

    command: str
    description: str = ""
    changes: bool = False
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a person asked for, and of which server.

    `model` names the language model to use; the embedded planner ignores it. `allow_changes` says whether
    recovery steps may install packages or use sudo on this server.
    """

    query: str
    agent_type: AgentType
    server_tag: str
    allow_changes: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A command that failed, as a planner needs to see it to suggest a recovery."""

    command: str
    description: str
    exit_code: int
    stdout: str
    stderr: str
    error_type: ErrorType | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier healing of the same failed step: what it ran, and the failure that remained."""

    recovery: Sequence[Step]
    failure: Failure


class Planner(Protocol):
    """Turn requests into plans and failures into recoveries."""

    def check_model(self, model: str | None) -> None:
        """Raise UnknownModelError for a model that this planner does not have; None is its default."""
        ...

    async def aclose(self) -> None:
        """Give back what the planner holds."""
        ...

    async def plan(self, request: PlanRequest) -> Sequence[Step]:
        """Return the steps that answer the request.

        Raises NoRunbookError, UnknownModelError or PlannerError.
        """
        ...

    async def recover(
        self, request: PlanRequest, failure: Failure, earlier: Sequence[Attempt]
    ) -> Sequence[Step]:
        """Return recovery steps for a failure, none if no remedy is known.

        `earlier` holds the attempts already made for this step, oldest first. Raises PlannerError.
        """
        ...
