"""The backend as its users have it: a process of its own, spoken to over HTTP."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 30.0

_given: set[int] = set()


def free_port() -> int:
    """Return a loopback port that nobody uses, each one once.

    It lies below those that the kernel gives to connections by itself: one of these could take it before the
    server does for which it was found.
    """
    own = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    while True:
        port = random.randrange(10_000, max(own, 20_000))  # noqa: S311 - no secret
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def environment_of_tests() -> dict[str, str]:
    """Return this process's environment without settings of the backend that someone may have exported."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AOSS_", "OTEL_"))}


class BackendProcess:
    """A running `aoss serve`."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = data_dir.with_name(f"{data_dir.name}-{self.port}.log")
        self.environment = environment_of_tests() | {"AOSS_DATA_DIR": str(data_dir)} | dict(environment or {})
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve", "--port", str(self.port)],
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the backend did not start:\n{self.log}")

    @property
    def log(self) -> str:
        """Return what the backend has logged."""
        return self.log_path.read_text(errors="replace")

    def plan(self, query: str, agent_type: str = "general", server_id: int = 1) -> list[dict[str, Any]]:
        """Return a plan."""
        answer = self.http.post(
            "/api/chat/plan", json={"serverId": server_id, "query": query, "agent_type": agent_type}
        )
        assert answer.status_code == 200, answer.text
        plan: list[dict[str, Any]] = answer.json()["plan"]
        return plan

    @contextmanager
    def execution(self, *commands: str, **fields: Any) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
        """Start an execution and give its id and its events as they arrive."""
        body = {
            "serverId": 1,
            "query": "a test",
            "plan": [{"command": command} for command in commands],
            "agent_type": "general",
        } | fields
        with self.http.stream("POST", "/api/chat/execute", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
            assert answer.status_code == 200, answer.text
            yield answer.headers["X-Execution-Id"], (json.loads(line) for line in answer.iter_lines())

    def execute(self, *commands: str, **fields: Any) -> list[dict[str, Any]]:
        """Run commands and return all events."""
        with self.execution(*commands, **fields) as (_, events):
            return list(events)

    def events(self, execution_id: str, after: int = 0) -> list[dict[str, Any]]:
        """Return an execution's events after `after`, waiting for its end."""
        answer = self.http.get(f"/api/executions/{execution_id}/events", params={"after": after})
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def status(self, execution_id: str) -> str:
        """Return an execution's status."""
        status: str = self.http.get(f"/api/executions/{execution_id}").json()["status"]
        return status

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return every sample on /metrics by name and labels."""
        text = self.http.get("/metrics").text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that carry at least these labels."""
        return sum(
            value
            for (sample, its_labels), value in self.samples().items()
            if sample == name and its_labels >= set(labels.items())
        )

    def stop(self) -> int:
        """Stop the backend as a service manager would; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.http.close()
        return code

    def kill(self) -> None:
        """Kill the backend as the kernel would."""
        self.process.kill()
        self.process.wait(timeout=10)
        self.http.close()


@contextmanager
def running_backend(data_dir: Path, environment: Mapping[str, str] | None = None) -> Iterator[BackendProcess]:
    """Run a backend for the length of a block."""
    backend = BackendProcess(data_dir, environment)
    try:
        yield backend
    finally:
        if backend.process.poll() is None:
            backend.process.send_signal(signal.SIGTERM)
            try:
                backend.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                backend.process.kill()
                backend.process.wait(timeout=10)
        backend.http.close()


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
