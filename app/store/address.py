"""AOSS_DATABASE_URL: what it may say, and the engine that it names."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import DatabaseUrlError

_SQLITE = ("sqlite", "sqlite+aiosqlite")
_POSTGRESQL = ("postgres", "postgresql", "postgresql+asyncpg")
_FORMS = "give sqlite+aiosqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def parse_address(text: str) -> URL:
    """Return the database's address with its driver named.

    `sslmode` is accepted as `ssl`, its name in the driver. Raises DatabaseUrlError, never with the text
    itself: whatever could not be parsed may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"AOSS_DATABASE_URL cannot be parsed: {_FORMS}") from None
    if url.drivername in _SQLITE:
        return _sqlite(url)
    if url.drivername in _POSTGRESQL:
        return _postgresql(url)
    raise DatabaseUrlError(f"AOSS_DATABASE_URL starts with {url.drivername!r}: {_FORMS}")


def sqlite_address(path: Path) -> str:
    """Return the address of a SQLite file."""
    return URL.create("sqlite+aiosqlite", database=str(path)).render_as_string()


def _sqlite(url: URL) -> URL:
    if url.host or url.query or not url.database or url.database.startswith((":", "file:")):
        # A database in memory would be another one in each worker, and in each connection.
        raise DatabaseUrlError("AOSS_DATABASE_URL for SQLite names a file: sqlite+aiosqlite:///PATH")
    return url.set(drivername="sqlite+aiosqlite")


def _postgresql(url: URL) -> URL:
    if url.port is not None and not 1 <= url.port <= 65_535:
        raise DatabaseUrlError(f"AOSS_DATABASE_URL names port {url.port}, which does not exist")
    query: dict[str, Any] = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    unknown = sorted(query.keys() - {"host", "ssl"})
    if unknown:
        raise DatabaseUrlError(
            f"AOSS_DATABASE_URL has parameters that are not supported: {', '.join(unknown)} "
            "(supported: sslmode, host)"
        )
    return url.set(drivername="postgresql+asyncpg", query=query)
