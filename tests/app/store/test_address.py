"""Tests of AOSS_DATABASE_URL."""

import traceback
from pathlib import Path

import pytest

from app.errors import DatabaseUrlError
from app.store.database import Database

PASSWORD = "tr0ub4dor"


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("", "sqlite"),
        ("sqlite+aiosqlite:////var/lib/aoss/aoss.db", "sqlite"),
        ("sqlite:///aoss.db", "sqlite"),
        ("postgres://ops@db/aoss", "postgresql"),
        ("postgresql://ops:p%40ss@db:5432/aoss?sslmode=require", "postgresql"),
        ("postgresql+asyncpg:///aoss?host=/run/postgresql", "postgresql"),
    ],
)
def test_an_address_chooses_the_back_end(tmp_path: Path, url: str, dialect: str) -> None:
    """Each accepted form names SQLite or PostgreSQL; none is SQLite in the data directory."""
    assert dialect == Database(url, tmp_path).dialect


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (f"mysql://ops:{PASSWORD}@db/aoss", "starts with 'mysql'"),
        (f"postgresql+psycopg://ops:{PASSWORD}@db/aoss", "starts with 'postgresql"),
        (f"postgresql://ops:{PASSWORD}@db:port/aoss", "cannot be parsed"),
        (f"ops:{PASSWORD}@db", "cannot be parsed"),
        (f"postgresql://ops:{PASSWORD}@db/aoss?sslcert=x&connect_timeout=3", "connect_timeout, sslcert"),
        (f"postgresql://ops@db/aoss?password={PASSWORD}", "not supported: password"),
        ("sqlite+aiosqlite://", "names a file"),
        ("sqlite+aiosqlite:///:memory:", "names a file"),
        ("sqlite+aiosqlite:///file:aoss?mode=memory", "names a file"),
        (f"sqlite+aiosqlite://ops:{PASSWORD}@host/aoss.db", "names a file"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_by_name(tmp_path: Path, url: str, complaint: str) -> None:
    """The complaint names the setting and what is wrong, and shows no password, not even in its trace."""
    with pytest.raises(DatabaseUrlError, match=f"^AOSS_DATABASE_URL .*{complaint}") as refusal:
        Database(url, tmp_path)
    assert isinstance(refusal.value, ValueError)
    assert PASSWORD not in "".join(traceback.format_exception_only(refusal.value))
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
