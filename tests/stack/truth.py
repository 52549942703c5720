"""What happened, counted from the events that clients were sent; it knows nothing of metrics."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from telemetry.labels import AgentType

Labels = frozenset[tuple[str, str]]


def labels(**pairs: str) -> Labels:
    """Return labels in the form that counts are kept under."""
    return frozenset(pairs.items())


@dataclass(frozen=True, slots=True)
class Execution:
    """An accepted execution with all its events."""

    id: str
    agent_type: AgentType
    server_tag: str
    events: list[dict[str, Any]]

    @property
    def status(self) -> str:
        """Return how it ended."""
        status: str = self.events[-1]["final_status"]
        return status


def count(executions: Iterable[Execution]) -> dict[str, Counter[Labels]]:
    """Return what each AOSS counter, and each histogram's count, must say of these executions."""
    truth: dict[str, Counter[Labels]] = {
        name: Counter()
        for name in (
            "aoss_executions_total",
            "aoss_executions_completed_total",
            "aoss_execution_duration_seconds_count",
            "aoss_execution_steps_total",
            "aoss_execution_step_duration_seconds_count",
            "aoss_execution_errors_total",
            "aoss_self_healing_attempts_total",
            "aoss_compliance_checks_total",
        )
    }
    for each in executions:
        agent = str(each.agent_type)
        where = {"agent_type": agent, "server_tag": each.server_tag}
        truth["aoss_executions_total"][labels(**where)] += 1
        truth["aoss_executions_completed_total"][labels(**where, status=each.status)] += 1
        truth["aoss_execution_duration_seconds_count"][labels(agent_type=agent, status=each.status)] += 1
        for event in each.events:
            _count_event(truth, agent, event)
    return truth


def _count_event(truth: dict[str, Counter[Labels]], agent: str, event: dict[str, Any]) -> None:
    match event["type"]:
        case "step_start":
            judged = event["compliance"]
            check = labels(agent_type=agent, decision=judged["decision"], rule=judged["rule"])
            truth["aoss_compliance_checks_total"][check] += 1
        case "step_result":
            step = labels(agent_type=agent, status=event["result"]["status"])
            truth["aoss_execution_steps_total"][step] += 1
            truth["aoss_execution_step_duration_seconds_count"][step] += 1
        case "healing_result":
            healing = labels(agent_type=agent, success=str(event["success"]).lower())
            truth["aoss_self_healing_attempts_total"][healing] += 1
    if event["type"] in ("step_result", "error") and (kind := event["result"]["error_type"]):
        truth["aoss_execution_errors_total"][labels(agent_type=agent, error_type=kind)] += 1
