"""What compliance says of a command."""

from dataclasses import dataclass

from telemetry.labels import Decision


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, the id of the rule that made it (`none` where none matched) and the reason in words."""

    decision: Decision
    rule: str = "none"
    reason: str = ""
