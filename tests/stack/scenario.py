"""Sixty real executions: every persona, several servers, most ways to end, and a worker that is killed."""

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from telemetry.labels import AgentType
from tests.stack.truth import Execution
from tests.support.backend import BackendProcess, free_port, wait_for
from tests.support.sshd import RunningSshd

WORKERS = 2
TAGS = ("localhost", "web-01", "db-01", "refused-01", "down-01")
COMMAND_SECONDS = 3
AT_ONCE = 6

REQUESTS = {
    AgentType.GENERAL: "check the health of this server",
    AgentType.NETWORK: "show the open ports",
    AgentType.DATABASE: "is postgresql running",
    AgentType.SECURITY: "audit the users",
}
# With the two that are held, sixty; no two personas alike, so that labels that are mixed up show.
ORDINARY = {AgentType.GENERAL: 19, AgentType.NETWORK: 15, AgentType.DATABASE: 13, AgentType.SECURITY: 11}
AFTER_THE_KILL = 10

# Each persona does all of these, in turn; no command means the plan of the persona's own runbook.
WORK: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("localhost", ()),
    ("localhost", ("true", "sleep 0.1", "echo done")),
    ("web-01", ("uname -s", "sleep 0.4")),
    ("db-01", ("id -un", "echo one", "echo two")),
    ("localhost", ("echo before", "exit 3", "echo never")),
    ("web-01", ("mkdir /tmp", "echo healed")),
    ("localhost", ("echo before; rm -rf /",)),
    ("down-01", ("echo never",)),
    ("refused-01", ("echo never",)),
    ("db-01", ("no-such-program-here",)),
    ("localhost", (f"sleep {COMMAND_SECONDS + 60}",)),
)
HELD_STEPS = ("echo $PPID", *["sleep 0.5"] * 99)


@dataclass(frozen=True, slots=True)
class Held:
    """Executions that run until they are told to end: a time in the middle, and how many ran then."""

    time: float
    active: int


class Client:
    """Someone who works with the backend, and keeps every event."""

    def __init__(self, backend: BackendProcess, sshd: RunningSshd) -> None:
        self.backend = backend
        self.executions: list[Execution] = []
        self._servers: dict[str, int] = {"localhost": 1}
        self._register(sshd)

    def _register(self, sshd: RunningSshd) -> None:
        other_key = sshd.key_path.with_name("other_key")
        sshd.make_key(other_key)
        body = {"ipAddress": sshd.host, "sshUsername": sshd.users["plain"], "hostKey": sshd.host_key_line}
        for tag, port, key in (
            ("web-01", sshd.port, sshd.key_path),
            ("db-01", sshd.port, sshd.key_path),
            ("refused-01", sshd.port, other_key),
            ("down-01", free_port(), sshd.key_path),
        ):
            answer = self.backend.http.post(
                "/api/servers", json=body | {"serverTag": tag, "sshPort": port, "sshKeyPath": key.name}
            )
            assert answer.status_code == 201, answer.text
            self._servers[tag] = answer.json()["id"]

    def run_ordinary(self, work: list[tuple[AgentType, str, tuple[str, ...]]]) -> None:
        """Run executions, several at once, to their ends."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: self.execute(*each), work))

    def execute(self, agent: AgentType, tag: str, commands: tuple[str, ...]) -> None:
        """Run one execution to its end."""
        if not commands:
            plan = self.backend.plan(REQUESTS[agent], agent)
            commands = tuple(step["command"] for step in plan)
        with self._stream(agent, tag, commands) as (execution_id, events):
            self.executions.append(Execution(execution_id, agent, tag, list(events)))

    def be_held(self, agent: AgentType, tag: str) -> None:
        """Run an execution that ends only when someone ends it."""
        self.execute(agent, tag, HELD_STEPS)

    def be_killed(self, agent: AgentType, tag: str, kill: threading.Event) -> None:
        """Run an execution whose worker is killed at the begin of a step, once `kill` is set."""
        with self._stream(agent, tag, HELD_STEPS) as (execution_id, events):
            worker = 0
            for event in events:
                if event["type"] == "step_result" and not worker:
                    worker = self._worker_above(int(event["result"]["stdout"]))
                # No worker is known before the first result, and 0 would be this process' own group.
                if event["type"] == "step_start" and worker and kill.is_set():
                    os.kill(worker, signal.SIGKILL)
                    break
        wait_for(lambda: self.backend.status(execution_id) == "Interrupted")
        self.executions.append(Execution(execution_id, agent, tag, self.backend.events(execution_id)))

    def running(self) -> list[dict[str, Any]]:
        """Return the rows of the executions that run."""
        return list(self.rows(status="Running"))

    def rows(self, **filters: str) -> Iterator[dict[str, Any]]:
        """Yield the rows that the API lists."""
        before: dict[str, str] = {}
        while True:
            page = self.backend.http.get("/api/executions", params=filters | before).json()
            yield from page["executions"]
            if page["next"] is None:
                return
            before = {"before": page["next"]}

    def _stream(self, agent: AgentType, tag: str, commands: tuple[str, ...]) -> Any:
        return self.backend.execution(*commands, agent_type=agent, serverId=self._servers[tag])

    def _worker_above(self, process: int) -> int:
        workers = {child.pid for child in psutil.Process(self.backend.process.pid).children()}
        return next(parent.pid for parent in psutil.Process(process).parents() if parent.pid in workers)


def ordinary_work() -> list[tuple[AgentType, str, tuple[str, ...]]]:
    """Return the executions that nobody interferes with, the personas in turn."""
    columns = (
        [(agent, *WORK[number % len(WORK)]) for number in range(share)] for agent, share in ORDINARY.items()
    )
    return [each for row in itertools.zip_longest(*columns) for each in row if each is not None]
