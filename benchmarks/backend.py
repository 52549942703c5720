"""How soon the backend answers: the first event of an execution, and 64 executions at once."""

import tempfile
import threading
import time
from pathlib import Path

import httpx

from benchmarks.results import PROMISED, Row, row
from tests.support.backend import BackendProcess, running_backend

FIRST_EVENT_ROUNDS = 50
EXECUTIONS = 64
STEPS = 20
MOST_MILLISECONDS = 50.0


def rows() -> list[Row]:
    """Measure both on a backend of one worker with its embedded defaults."""
    with tempfile.TemporaryDirectory() as folder, running_backend(Path(folder) / "data") as backend:
        backend.execute("true")
        first = [_first_event_ms(backend) for _ in range(FIRST_EVENT_ROUNDS)]
        seconds = _concurrent_seconds(backend)
        counted = backend.total("aoss_execution_steps_total", agent_type="network", status="Success")
        assert counted == EXECUTIONS * STEPS
    p95 = sorted(first)[int(len(first) * 0.95)]
    return [
        row(
            "request to first event, an idle worker, local runner",
            "ms",
            {"ours": first, PROMISED: [MOST_MILLISECONDS] * FIRST_EVENT_ROUNDS},
            {PROMISED: 1},
            note=f"p95 {p95:.0f} ms",
        ),
        row(
            f"{EXECUTIONS} concurrent executions of {STEPS} steps, counted exactly",
            "s",
            {"ours": [seconds]},
            {},
        ),
    ]


def _first_event_ms(backend: BackendProcess) -> float:
    started = time.perf_counter()
    with backend.execution("true") as (_, events):
        next(events)
        elapsed = time.perf_counter() - started
        list(events)
    return elapsed * 1000


def _concurrent_seconds(backend: BackendProcess) -> float:
    backend.http.timeout = httpx.Timeout(300, pool=300)
    threads = [
        threading.Thread(target=backend.execute, args=["true"] * STEPS, kwargs={"agent_type": "network"})
        for _ in range(EXECUTIONS)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started
