"""First event and 64 concurrent executions, measured: `python -m benchmarks.backend`."""

import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from tests.support.backend import BackendProcess, running_backend

FIRST_EVENT_ROUNDS = 50
EXECUTIONS = 64
STEPS = 20


def main() -> None:
    """Measure both on a backend of one worker with its embedded defaults, and print a table."""
    with tempfile.TemporaryDirectory() as folder, running_backend(Path(folder) / "data") as backend:
        backend.execute("true")
        first = sorted(_first_event_ms(backend) for _ in range(FIRST_EVENT_ROUNDS))
        seconds = _concurrent_seconds(backend)
        counted = backend.total("aoss_execution_steps_total", agent_type="network", status="Success")
        assert counted == EXECUTIONS * STEPS
    print(f"| {'measured':<58} | {'median':>9} | {'p95':>9} |")
    print(f"|{'-' * 60}|{'-' * 10}:|{'-' * 10}:|")
    p95 = first[int(len(first) * 0.95)]
    print(
        f"| {'request to first event, idle worker, local runner':<58} "
        f"| {statistics.median(first):>6.1f} ms | {p95:>6.1f} ms |"
    )
    text = f"{EXECUTIONS} concurrent executions of {STEPS} steps, counted exactly"
    print(f"| {text:<58} | {seconds:>7.1f} s | {'':>9} |")


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


if __name__ == "__main__":
    main()
