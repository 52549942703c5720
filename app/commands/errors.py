"""What ends a command early: one line on stderr and an exit code, never a traceback."""

from app.errors import AossError


class CommandError(AossError):
    """Report why a command could not do its work; the exit code is 1."""


class UsageError(CommandError):
    """Report a command line or an environment that cannot be used; the exit code is 2."""
