"""The wire format: what clients send and what they are sent."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from telemetry.labels import AgentType

SECRET_NAME = re.compile(r"passw|passphrase|\bpwd\b|secret|private_?key|^(ssh_?)?key$", re.IGNORECASE)
MAX_COMMAND_BYTES = 64 * 1024
MAX_STEPS = 100
MAX_QUERY_CHARACTERS = 8_000
MAX_ID = 2**31 - 1
TAG_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
EXECUTION_ID_PATTERN = r"^[0-9a-f]{32}$"


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain lone surrogates")
    return text


def _command(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if len(text.encode()) > MAX_COMMAND_BYTES:
        raise ValueError(f"must not exceed {MAX_COMMAND_BYTES} bytes")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be the number of a server")
    return value


Text = Annotated[str, AfterValidator(_storable)]
ServerId = Annotated[int, BeforeValidator(_not_boolean), Field(ge=1, le=MAX_ID)]
ExecutionId = Annotated[str, StringConstraints(pattern=EXECUTION_ID_PATTERN)]
Query = Annotated[
    Text,
    Field(min_length=1, max_length=MAX_QUERY_CHARACTERS),
    AfterValidator(_not_blank),
]
Command = Annotated[Text, Field(min_length=1), AfterValidator(_command)]
ModelName = Annotated[Text, Field(max_length=200)]


class ExecutionState(StrEnum):
    """Whether an execution runs, and how it ended."""

    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"


class PlanCall(BaseModel):
    """Ask for a plan."""

    serverId: ServerId  # noqa: N815 - the name on the wire
    query: Query
    model: ModelName | None = None
    agent_type: AgentType = AgentType.GENERAL


class PlannedStep(BaseModel):
    """One step of a plan; `changes` tells that it alters the server."""

    step: int | None = None
    command: Command
    description: Annotated[Text, Field(max_length=2_000)] = ""
    changes: bool = False


class PlanAnswer(BaseModel):
    """A plan."""

    plan: list[PlannedStep]


class ExecuteCall(PlanCall):
    """Run a plan on a server."""

    plan: Annotated[list[PlannedStep], Field(min_length=1, max_length=MAX_STEPS)]


class ServerCall(BaseModel):
    """Register a server that is reached over SSH."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    server_tag: Annotated[str, StringConstraints(pattern=TAG_PATTERN)]
    ip_address: Annotated[Text, Field(max_length=253)] = ""
    hostname: Annotated[Text, Field(max_length=253)] = ""
    ssh_username: Annotated[Text, Field(min_length=1, max_length=64), AfterValidator(_not_blank)]
    ssh_port: Annotated[int, Field(ge=1, le=65_535)] = 22
    ssh_key_path: Annotated[Text, Field(max_length=1_000)] | None = None
    host_key: Annotated[Text, Field(max_length=16_000)] | None = None
    allow_changes: bool = False

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: Any) -> Any:
        _refuse_secrets(data)
        return data

    @model_validator(mode="after")
    def _has_address(self) -> Self:
        if not (self.ip_address.strip() or self.hostname.strip()):
            raise ValueError("ipAddress or hostname is needed")
        return self


def _refuse_secrets(data: Any) -> None:
    """Raise ValueError naming the field that holds a secret, however deep."""
    if isinstance(data, list):
        for value in data:
            _refuse_secrets(value)
    if isinstance(data, dict):
        for name, value in data.items():
            if SECRET_NAME.search(str(name)) or "PRIVATE KEY" in str(value):
                raise ValueError(
                    f"{str(name)[:64]}: passwords and private keys are neither used nor kept; "
                    "give sshKeyPath, a file under AOSS_SSH_KEY_DIR, or use the agent"
                )
            _refuse_secrets(value)


class ServerAnswer(BaseModel):
    """A registered server; `hostKeyFingerprint` is that of the pinned host key."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    id: int
    server_tag: str
    runner: str
    ip_address: str
    hostname: str
    ssh_username: str
    ssh_port: int
    ssh_key_path: str | None
    host_key: str | None
    host_key_fingerprint: str | None
    allow_changes: bool
    created_at: datetime


class ServersAnswer(BaseModel):
    """A page of servers; `next` is the `after` of the next page."""

    servers: list[ServerAnswer]
    next: int | None


class ConnectionAnswer(BaseModel):
    """Whether a session with a server can be had."""

    status: Literal["Online", "Offline"]
    message: str


class ExecutionAnswer(BaseModel):
    """An execution without its events."""

    id: str
    server_id: int | None
    server_tag: str
    agent_type: AgentType
    query: str
    plan: list[dict[str, Any]]
    status: ExecutionState
    created_at: datetime
    finished_at: datetime | None


class ExecutionsAnswer(BaseModel):
    """A page of executions, newest first; `next` is the `before` of the next page."""

    executions: list[ExecutionAnswer]
    next: str | None


class CancelAnswer(BaseModel):
    """The cancellation has been noted and takes effect within a second."""

    execution_id: str
    status: Literal["cancelling"] = "cancelling"


class LogAnswer(BaseModel):
    """One execution as the chat history shows it."""

    id: str
    query: str
    plan: list[dict[str, Any]]
    status: ExecutionState
    execution_results: list[dict[str, Any]]
    agent_summary: str | None
    created_at: datetime


class HistoryAnswer(BaseModel):
    """A page of a server's history, newest first; `next` is the `before` of the next, which may be empty."""

    logs: list[LogAnswer]
    next: str | None


class SampleAnswer(BaseModel):
    """What was measured at a Unix time; series that are 0 are left out, and servers are summed."""

    seq: int
    time: float
    values: dict[str, float]


class SamplesAnswer(BaseModel):
    """The samples of a run, oldest first, `interval` seconds apart; another `run` has begun at 0."""

    run: str
    interval: int
    families: dict[str, Literal["counter", "gauge", "histogram"]]
    samples: list[SampleAnswer]


class ErrorAnswer(BaseModel):
    """What was wrong."""

    detail: Any
