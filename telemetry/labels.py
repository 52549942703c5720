"""The closed sets of attribute values that the AOSS instruments carry."""

from enum import StrEnum


class AgentType(StrEnum):
    """The persona that plans an execution."""

    GENERAL = "general"
    NETWORK = "network"
    DATABASE = "database"
    SECURITY = "security"


class ExecutionStatus(StrEnum):
    """How an execution ended."""

    SUCCESS = "Success"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"


class StepStatus(StrEnum):
    """How a step ended."""

    SUCCESS = "Success"
    FAILED = "Failed"


class ErrorType(StrEnum):
    """What kind of error was counted."""

    SYSTEM = "system_error"
    CONNECTION = "connection_error"
    AUTHENTICATION = "authentication_error"
    TIMEOUT = "timeout_error"
    COMMAND = "command_error"
    PLANNER = "planner_error"
    COMPLIANCE = "compliance_violation"


class Decision(StrEnum):
    """What compliance said of a command."""

    ALLOWED = "allowed"
    DENIED = "denied"


UNKNOWN_SERVER = "unknown"
