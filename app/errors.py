"""The errors that the backend raises on purpose; each says what was wrong in words meant for its user."""

from telemetry.labels import ErrorType


class AossError(Exception):
    """Base of every error that carries a message for the user."""


class PlannerError(AossError):
    """Report that a planner failed: unreachable, refused, or answered nonsense."""


class NoRunbookError(AossError):
    """Report that no built-in runbook answers the request, with the nearest ones."""

    def __init__(self, message: str, nearest: tuple[str, ...]) -> None:
        super().__init__(message)
        self.nearest = nearest


class UnknownModelError(AossError):
    """Report a model that is not among the configured ones."""


class SessionError(AossError):
    """Report that no session with a server could be had."""

    error_type = ErrorType.CONNECTION


class SessionAuthenticationError(SessionError):
    """Report that the server refused the key, or that no usable key was found."""

    error_type = ErrorType.AUTHENTICATION


class AtCapacityError(AossError):
    """Report that a worker runs as many executions as it may."""


class ShuttingDownError(AossError):
    """Report that the backend is shutting down."""


class DatabaseUrlError(AossError, ValueError):
    """Report a database address that cannot be used; the message never holds a password."""


class StoreVersionError(AossError):
    """Report a database whose schema this version of the code does not know."""


class StoreUnavailableError(AossError):
    """Report that the database cannot be used just now; the same call may succeed later."""


class UnknownServerError(AossError):
    """Report a server that is not registered, or no longer."""


class DuplicateTagError(AossError):
    """Report a server tag that is already taken."""


class ServerBusyError(AossError):
    """Report a server that cannot be removed while executions run on it."""


class UnknownExecutionError(AossError):
    """Report an execution that is not stored, or no longer."""
