"""What a demo runs: a fixed mix of everything that an execution can meet.

Every command only reads, sleeps or fails. Two look otherwise and are not: `mkdir /tmp` always fails, and its
healing, `mkdir -p /tmp`, changes nothing; the denied one would not find its file if it ran.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from telemetry.labels import AgentType

# Spread over the buckets of aoss_execution_duration_seconds, long ones late: a short demo is over soon.
_SLEEPS = (0.05, 0.3, 0.1, 0.8, 0.2, 1.5, 3, 0.4, 6, 10, 0.6, 8, 12, 5, 9, 2)

_REQUESTS = {
    AgentType.GENERAL: ("How much memory is free?", "How long has it been up?"),
    AgentType.NETWORK: ("Which ports are listening?", "Show the routes"),
    AgentType.DATABASE: ("Is the database up?", "How large are the databases?"),
    AgentType.SECURITY: ("Who logged in lately?", "Which users may use sudo?"),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One execution to ask for. Without commands the backend's planner makes the plan."""

    agent_type: AgentType
    request: str
    commands: tuple[str, ...] = ()
    cancelled: bool = False


def refused_request() -> str:
    """Return a request that no built-in runbook answers."""
    return "Compose a sonnet about the sea"


def scenarios(count: int) -> Iterator[Scenario]:
    """Yield `count` scenarios, the same ones each time; each ten of them hold every kind."""
    sleeps = cycle(_SLEEPS)
    agents = list(AgentType)
    for number in range(count):
        round_, kind = divmod(number, len(_KINDS))
        # Shifted each round, so that every kind meets every agent type.
        agent = agents[(round_ + kind) % len(agents)]
        request, *commands = _KINDS[kind]
        if not request:
            yield Scenario(agent, _REQUESTS[agent][round_ % 2])
            continue
        filled = tuple(f"sleep {next(sleeps)}" if command == "sleep" else command for command in commands)
        yield Scenario(agent, request, filled, cancelled=request == _CANCELLED)


_CANCELLED = "Wait until someone cancels"
_KINDS = (
    ("",),
    ("Three quick looks", "uname -sr", "cat /proc/loadavg", "date -u"),
    ("A folder that is there already: healing helps", "mkdir /tmp", "ls -d /tmp"),
    ("A file that is not there: healing knows no remedy", "cat /nonexistent/aoss-demo"),
    ("Wait a while", "sleep"),
    ("",),
    ("A command that compliance denies", "mkfs.ext4 /nonexistent/aoss-demo"),
    (_CANCELLED, "sleep 30"),
    (
        "A check that fails in its second step",
        "sleep",
        "echo 'the check failed' >&2; exit 3",
        "date -u",
    ),
    ("Wait twice", "sleep", "sleep"),
)
