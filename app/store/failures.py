"""Which of the errors below the store mean that the database cannot be used just now."""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# Classes of SQLSTATE: connection, authorization, unknown database, rollback (deadlock), resources (disk full,
# too many connections), locks, operator intervention (shutdown), system error, internal error.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = frozenset(("08", "28", "3D", "40", "53", "55", "57", "58", "XX"))
_READ_ONLY = "25006"  # a standby after a fail-over

# https://www.sqlite.org/rescode.html
_SQLITE_CODES = frozenset(
    (
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    )
)


def unavailability(error: Exception) -> str | None:
    """Return in a few words why the database cannot be used, None if the error means something else.

    The words hold no address: PostgreSQL's and the system's own messages name hosts, users and paths.
    """
    if isinstance(error, OSError | PoolTimeoutError):
        return type(error).__name__
    cause = error.driver_exception if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return str(cause) if _is_sqlite_failure(cause) else None
    if not isinstance(error, DBAPIError):
        return None
    if error.connection_invalidated or _is_postgresql_failure(cause):
        return type(cause).__name__
    return None


def _is_sqlite_failure(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the driver itself: the connection was closed
        return isinstance(error, sqlite3.OperationalError)
    return (code & 0xFF) in _SQLITE_CODES


def _is_postgresql_failure(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if state is None:  # raised by the driver itself; a ValueError is about an argument
        return not isinstance(error, ValueError | TypeError)
    return state[:2] in _SQLSTATES or state == _READ_ONLY
