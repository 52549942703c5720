"""A database that goes away in the middle of an execution."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.backend import running_backend, wait_for
from tests.support.postgres import PostgresServer, running_postgres


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server that a test may stop."""
    with running_postgres() as server:
        yield server


@pytest.mark.parametrize("way", ["stop", "pause"])
def test_execution_goes_on_and_its_log_is_written_later(
    own_postgres: PostgresServer, data_dir: Path, way: str
) -> None:
    """The execution and its stream go on, new ones get 503, and all is stored once the database is back."""
    with running_backend(data_dir, {"AOSS_DATABASE_URL": own_postgres.create_database()}) as backend:
        with backend.execution("echo one", "sleep 1", "echo three") as (execution_id, stream):
            events = [next(stream), next(stream)]
            getattr(own_postgres, way)()
            events += list(stream)
        assert events[-1]["final_status"] == "Success"
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert backend.total("aoss_executions_completed_total", status="Success") == 1
        assert backend.http.get("/readyz").status_code == 503
        assert backend.http.get("/healthz").status_code == 200
        body = {"serverId": 1, "query": "more", "plan": [{"command": "true"}]}
        refused = backend.http.post("/api/chat/execute", json=body)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        attached = backend.events(execution_id)
        assert attached == events, "the worker still answers for what it holds"
        if way == "stop":
            own_postgres.start()
        else:
            own_postgres.resume()
        wait_for(lambda: backend.http.get("/readyz").status_code == 200, 30)
        wait_for(lambda: backend.status(execution_id) == "Success", 30)
        assert backend.execute("true")[-1]["final_status"] == "Success"
        assert "Traceback" not in backend.log
        assert backend.total("aoss_executions_total") == 2
        listed = backend.http.get("/api/executions").json()["executions"]
        assert {each["status"] for each in listed} <= {"Success", "Interrupted"}
    with running_backend(data_dir, backend.environment) as again:
        assert again.events(execution_id) == events


def test_locked_sqlite(data_dir: Path) -> None:
    """A SQLite file that someone holds locked delays what is stored, and nothing else."""
    with running_backend(data_dir) as backend:
        with backend.execution("echo one", "sleep 0.5", "echo three") as (execution_id, stream):
            events = [next(stream)]
            with closing(sqlite3.connect(data_dir / "aoss.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                events += list(stream)
                other.execute("ROLLBACK")
        assert events[-1]["final_status"] == "Success"
        wait_for(lambda: backend.status(execution_id) == "Success", 30)
        assert backend.events(execution_id) == events
        assert "Traceback" not in backend.log
