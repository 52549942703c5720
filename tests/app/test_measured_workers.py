"""What /metrics says of a backend with several workers, some of which are killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from telemetry.labels import AgentType, ExecutionStatus
from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.processes import marked, new_marker

WORKERS = 2


@pytest.fixture
def backend(data_dir: Path) -> Iterator[BackendProcess]:
    """Give a backend of two workers."""
    with running_backend(data_dir, {"AOSS_WORKERS": str(WORKERS)}) as running:
        running.http.close()
        running.http = _NewConnections(running.url)
        wait_for(lambda: running.total("otel_sdk_worker_live") == WORKERS, 30)
        yield running


class _NewConnections(httpx.Client):
    """A client that connects anew for each request, so that either worker may answer."""

    def __init__(self, url: str) -> None:
        super().__init__(
            base_url=url, timeout=30, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )


def worker_of(marker: str) -> int:
    """Return the worker that runs a command."""
    wait_for(lambda: marked(marker))
    process = psutil.Process(next(iter(marked(marker))))
    return next(parent.pid for parent in process.parents() if "multiprocessing" in " ".join(parent.cmdline()))


def workers_of(backend: BackendProcess) -> list[int]:
    """Return the workers that live."""
    found = []
    for child in psutil.Process(backend.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie is one, too
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def by_status(backend: BackendProcess, status: ExecutionStatus) -> float:
    """Return how many executions have ended so."""
    return backend.total("aoss_executions_completed_total", status=status)


def assert_balanced(backend: BackendProcess) -> None:
    """Started equals completed plus active, and durations equal completions, by persona and status."""
    for agent in AgentType:
        started = backend.total("aoss_executions_total", agent_type=agent)
        active = backend.total("aoss_active_executions", agent_type=agent)
        assert started == backend.total("aoss_executions_completed_total", agent_type=agent) + active
        for status in ExecutionStatus:
            labels = {"agent_type": agent, "status": status}
            timed = backend.total("aoss_execution_duration_seconds_count", **labels)
            assert timed == backend.total("aoss_executions_completed_total", **labels)


def test_each_scrape_shows_all_workers(backend: BackendProcess) -> None:
    """Whichever worker ran them and whichever answers, every scrape shows every execution."""
    for _ in range(12):
        backend.execute("true")
    assert [backend.total("aoss_executions_total") for _ in range(8)] == [12.0] * 8
    assert_balanced(backend)
    workers = {
        dict(labels)["worker"] for name, labels in backend.samples() if name == "process_memory_usage_bytes"
    }
    assert workers == {"0", "1"}


def test_a_killed_workers_executions_are_interrupted(backend: BackendProcess) -> None:
    """Within 5 seconds they are counted so exactly once, with their time, and their rows say the same."""
    for _ in range(4):
        backend.execute("true", agent_type="security")
    marker = new_marker()
    with backend.execution(f"sleep {marker}", agent_type="database") as (execution_id, stream):
        next(stream)
        victim = worker_of(marker)
        assert backend.total("aoss_active_executions", agent_type="database") == 1
        time.sleep(1.5)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: by_status(backend, ExecutionStatus.INTERRUPTED) == 1, 5)
        wait_for(lambda: backend.status(execution_id) == "Interrupted", 5)
        assert time.monotonic() - killed < 5
    labels = {"agent_type": "database", "status": "Interrupted"}
    seconds = backend.total("aoss_execution_duration_seconds_sum", **labels)
    assert 0.4 < seconds < 60
    assert_balanced(backend)
    wait_for(lambda: backend.total("otel_sdk_worker_live") == WORKERS, 30)
    backend.execute("true")
    assert [by_status(backend, ExecutionStatus.INTERRUPTED) for _ in range(6)] == [1.0] * 6
    assert backend.total("aoss_executions_total") == 6
    assert_balanced(backend)


def test_no_counter_falls_while_workers_are_killed(backend: BackendProcess) -> None:
    """Scraped all the while by another reader, no counter is ever lower than before, and nothing is lost."""
    highest: dict[object, float] = {}
    fallen: list[object] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            try:
                samples = backend.samples()
            except httpx.TransportError:
                continue  # the worker that was asked was killed
            for key, value in samples.items():
                if key[0].endswith(("_total", "_seconds_count", "_bucket")):
                    if value < highest.get(key, 0.0):
                        fallen.append((key, highest[key], value))
                    highest[key] = value

    watcher = threading.Thread(target=watch)
    watcher.start()
    acknowledged = 0
    try:
        for round_ in range(12):
            try:
                acknowledged += backend.execute("true")[-1]["final_status"] == "Success"
            except (httpx.TransportError, AssertionError):
                time.sleep(0.3)
            if round_ % 4 == 3:
                os.kill(workers_of(backend)[0], signal.SIGKILL)
    finally:
        stop.set()
        watcher.join()
    assert fallen == []
    assert len(highest) > 100
    wait_for(lambda: backend.total("aoss_active_executions") == 0, 10)
    assert by_status(backend, ExecutionStatus.SUCCESS) >= acknowledged > 0
    wait_for(
        lambda: backend.total("aoss_executions_total") == backend.total("aoss_executions_completed_total")
    )
    assert_balanced(backend)


def test_exemplars_name_the_execution(backend: BackendProcess) -> None:
    """In OpenMetrics the durations carry the execution's id, from whichever worker."""
    with backend.execution("true") as (execution_id, stream):
        list(stream)
    accept = "application/openmetrics-text; version=1.0.0"
    text = backend.http.get("/metrics", headers={"Accept": accept}).text
    exemplars = {
        sample.exemplar.labels.get("execution_id")
        for family in parse_openmetrics(text)  # type: ignore[no-untyped-call] # upstream
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert exemplars == {execution_id}


@pytest.mark.parametrize("ended_by", ["SIGTERM", "SIGKILL"])
def test_the_end_of_the_whole_backend_is_counted_by_the_next(
    data_dir: Path, tmp_path: Path, ended_by: str
) -> None:
    """With AOSS_METRICS_DIR the next start counts what ran at the end of the one before as Interrupted."""
    environment = {
        "AOSS_WORKERS": str(WORKERS),
        "AOSS_METRICS_DIR": str(tmp_path / "metrics"),
        "AOSS_DRAIN_SECONDS": "1",
    }
    with running_backend(data_dir, environment) as first:
        first.execute("true")
        with first.execution(f"sleep {new_marker()}") as (execution_id, stream):
            next(stream)
            if ended_by == "SIGKILL":
                os.killpg(first.process.pid, signal.SIGKILL)
            else:
                assert first.stop() == 0
    with running_backend(data_dir, environment) as second:
        wait_for(lambda: by_status(second, ExecutionStatus.INTERRUPTED) == 1, 5)
        assert by_status(second, ExecutionStatus.SUCCESS) == 1
        assert second.status(execution_id) == "Interrupted"
        assert_balanced(second)
