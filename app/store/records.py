"""What goes into the store and comes out of it beside whole rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.store.models import Execution
from telemetry.labels import AgentType, ExecutionStatus


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An execution to record as running; `id` is a uuid4 in hex, chosen by its owner."""

    id: str
    server_id: int
    agent_type: AgentType
    query: str
    plan: Sequence[Mapping[str, Any]]
    host: str
    worker: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of an execution; `line` is what the stream sends."""

    execution_id: str
    seq: int
    type: str
    line: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How an execution ended."""

    execution_id: str
    status: ExecutionStatus
    finished_at: datetime
    agent_summary: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An execution with the results of its steps: the `result` of each step_result event, in order."""

    execution: Execution
    results: Sequence[dict[str, Any]]


class CancelRequest(StrEnum):
    """What became of a request to cancel."""

    REQUESTED = "requested"
    ENDED = "ended"
    UNKNOWN = "unknown"
