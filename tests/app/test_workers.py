"""Several backends on one store: any answers for any execution, and the dead are settled.

Two processes of one data directory are to each other what two workers of one service are.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.postgres import PostgresServer
from tests.support.processes import marked, sleeping


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[BackendProcess, BackendProcess]]:
    """Return two backends on one store; on PostgreSQL they share nothing else, as on two hosts."""
    folder = tmp_path_factory.mktemp("pair")
    environment = {}
    folders = (folder / "data", folder / "data")
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        environment["AOSS_DATABASE_URL"] = server.create_database()
        folders = (folder / "one", folder / "two")
    with running_backend(folders[0], environment) as one, running_backend(folders[1], environment) as other:
        yield one, other


def test_any_worker_streams_any_execution(pair: tuple[BackendProcess, BackendProcess]) -> None:
    """Another worker shows each event within half a second, and in the end exactly the same lines."""
    owner, other = pair
    with owner.execution("true", "sleep 1", "echo three") as (execution_id, stream):
        next(stream)
        url = f"/api/executions/{execution_id}/events"
        with other.http.stream("GET", url) as followed:
            lines = followed.iter_lines()
            seen = [next(lines) for _ in range(3)]
            rest = [(line, time.time()) for line in lines]
        owned = list(stream)
    assert len(seen) + len(rest) == 1 + len(owned)
    assert owner.events(execution_id) == other.events(execution_id)
    assert [event["seq"] for event in other.events(execution_id)] == list(range(1, len(owned) + 2))
    assert other.status(execution_id) == "Success"


def test_delay_at_another_worker(pair: tuple[BackendProcess, BackendProcess]) -> None:
    """An event is at a reader of another worker at most about half a second after it was at the owner's."""
    owner, other = pair
    command = "sleep 1; date +%s.%N"
    with owner.execution(command, "sleep 2") as (execution_id, stream):
        next(stream)
        with other.http.stream("GET", f"/api/executions/{execution_id}/events") as followed:
            for line in followed.iter_lines():
                if '"step_result"' in line:
                    arrived = time.time()
                    break
        result = next(event for event in stream if event["type"] == "step_result")
        owner.http.post(f"/api/executions/{execution_id}/cancel")
        list(stream)
    delay = arrived - float(result["result"]["stdout"])
    assert delay < 2.0, "0.5 s is promised; the bound leaves room for a busy machine"


def test_any_worker_cancels_any_execution(pair: tuple[BackendProcess, BackendProcess]) -> None:
    """A cancel at another worker ends the execution and its processes, and a second one gets 409."""
    owner, other = pair
    with owner.execution("sleep 4712.1 | sleep 4712.1") as (execution_id, stream):
        next(stream)
        wait_for(lambda: sleeping("4712.1") >= 2)
        assert other.http.post(f"/api/executions/{execution_id}/cancel").status_code == 202
        events = list(stream)
    assert events[-1]["final_status"] == "Cancelled"
    assert len(marked("4712.1")) == 0
    assert other.http.post(f"/api/executions/{execution_id}/cancel").status_code == 409


def test_server_with_running_executions_is_not_removed(pair: tuple[BackendProcess, BackendProcess]) -> None:
    """A server on which another worker runs something is not removed."""
    owner, other = pair
    with owner.execution("sleep 30") as (execution_id, stream):
        next(stream)
        assert other.http.delete("/api/server/1").status_code == 409
        owner.http.post(f"/api/executions/{execution_id}/cancel")
        list(stream)


def test_only_one_first_start(pair: tuple[BackendProcess, BackendProcess]) -> None:
    """The first start registers localhost, and the second worker does not do so again."""
    _, other = pair
    servers = other.http.get("/api/servers").json()["servers"]
    assert [(server["id"], server["serverTag"], server["runner"]) for server in servers] == [
        (1, "localhost", "local")
    ]


def test_killed_worker_is_settled_by_a_survivor(data_dir: Path) -> None:
    """A killed worker leaves no process, and a survivor marks its execution Interrupted within 5 seconds."""
    with running_backend(data_dir) as survivor, running_backend(data_dir) as victim:
        with victim.execution("setsid sleep 4712.2 & sleep 4712.2 | sleep 4712.2") as (execution_id, stream):
            next(stream)
            wait_for(lambda: sleeping("4712.2") >= 3)
            victim.process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            wait_for(lambda: survivor.status(execution_id) == "Interrupted", 5)
            assert time.monotonic() - killed < 5
        wait_for(lambda: len(marked("4712.2")) == 0, 5)
        events = survivor.events(execution_id)
        assert [event["type"] for event in events] == ["step_start", "complete"]
        assert events[-1]["final_status"] == "Interrupted"
        assert [event["seq"] for event in events] == [1, 2]
        assert survivor.events(execution_id, after=1) == events[1:]
        assert survivor.events(execution_id, after=2) == []
        log = survivor.http.get("/api/chat/history/1").json()["logs"][0]
        assert (log["id"], log["status"]) == (execution_id, "Interrupted")


def test_killed_worker_is_settled_by_the_next(data_dir: Path) -> None:
    """Where no worker survives, the next one to start settles what was left, once."""
    with running_backend(data_dir) as victim, victim.execution("sleep 4712.3") as (execution_id, stream):
        next(stream)
        victim.process.send_signal(signal.SIGKILL)
    with running_backend(data_dir) as successor:
        wait_for(lambda: successor.status(execution_id) == "Interrupted", 5)
        assert len(list((data_dir / "workers").glob("*.lock"))) == 1
        assert successor.http.get("/api/servers").json()["servers"][0]["serverTag"] == "localhost"
    assert len(marked("4712.3")) == 0


def test_sigterm_drains(data_dir: Path) -> None:
    """A stopping backend lets an execution finish within the limit, and its reader sees the end."""
    with running_backend(data_dir) as backend:
        with backend.execution("sleep 2", "echo finished") as (_, stream):
            next(stream)
            backend.process.send_signal(signal.SIGTERM)
            events = list(stream)
        assert events[-1]["final_status"] == "Success"
        assert backend.process.wait(timeout=10) == 0
        assert "Traceback" not in backend.log


def test_sigterm_in_mid_step(data_dir: Path) -> None:
    """What does not finish within the limit ends as Interrupted: for its reader, its rows, its processes."""
    with running_backend(data_dir, {"AOSS_DRAIN_SECONDS": "1"}) as backend:
        with backend.execution("sleep 4712.4 | sleep 4712.4", "echo never") as (execution_id, stream):
            next(stream)
            asked = time.monotonic()
            backend.process.send_signal(signal.SIGTERM)
            events = list(stream)
        assert backend.process.wait(timeout=15) == 0
        assert time.monotonic() - asked < 10
        assert [event["type"] for event in events] == [
            "step_result",
            "summarizing",
            "agent_summary",
            "complete",
        ]
        assert events[-1]["final_status"] == "Interrupted"
        assert len(marked("4712.4")) == 0
        assert "Traceback" not in backend.log
    with running_backend(data_dir) as again:
        assert again.status(execution_id) == "Interrupted"
        assert again.events(execution_id)[1:] == events


def test_reader_of_another_workers_execution_does_not_hold_up_shutdown(data_dir: Path) -> None:
    """A stream that follows another worker's execution ends when its own worker is asked to stop."""
    with (
        running_backend(data_dir) as owner,
        running_backend(data_dir) as other,
        owner.execution("sleep 60") as (execution_id, stream),
    ):
        next(stream)
        with other.http.stream("GET", f"/api/executions/{execution_id}/events") as followed:
            lines = followed.iter_lines()
            next(lines)
            asked = time.monotonic()
            other.process.send_signal(signal.SIGTERM)
            list(lines)
        assert other.process.wait(timeout=10) == 0
        assert time.monotonic() - asked < 8
        owner.http.post(f"/api/executions/{execution_id}/cancel")
        list(stream)


def test_reader_that_does_not_read_does_not_hold_up_shutdown(data_dir: Path) -> None:
    """A stream whose reader has stalled is cut off shortly after the drain limit."""
    with running_backend(data_dir, {"AOSS_DRAIN_SECONDS": "1"}) as backend:
        commands = ["head -c 1000000 /dev/zero | tr '\\0' x"] * 12
        with backend.execution(*commands) as (execution_id, stream):
            next(stream)
            wait_for(lambda: backend.status(execution_id) == "Success", 30)
            asked = time.monotonic()
            backend.process.send_signal(signal.SIGTERM)
            backend.process.wait(timeout=30)
            assert time.monotonic() - asked < 10
