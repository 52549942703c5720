"""Every AOSS instrument, declared once as data, which instruments, views, docs and tests read."""

from dataclasses import dataclass
from enum import StrEnum

from telemetry.labels import UNKNOWN_SERVER, AgentType, Decision, ErrorType, ExecutionStatus, StepStatus


class Kind(StrEnum):
    """The kinds of instruments that AOSS uses."""

    COUNTER = "Counter"
    UP_DOWN_COUNTER = "UpDownCounter"
    HISTOGRAM = "Histogram"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute key with its closed set of values; without one, the values are open.

    `initial` holds the values of an open set that are known at start.
    """

    key: str
    values: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument. `buckets` are upper bounds in the instrument's unit.

    `cardinality_limit` is the number of attribute sets that this instrument is granted at least; 0 leaves it
    at the general limit (AOSS_CARDINALITY_LIMIT). `zero_series` says that every known series exists with
    the value 0 before its first event.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[Attribute, ...]
    prometheus_name: str
    buckets: tuple[float, ...] = ()
    cardinality_limit: int = 0
    zero_series: bool = False


METER_NAME = "aoss"

# 4 personas x 4 statuses would fill the general limit at 125 servers.
SERVER_CARDINALITY_LIMIT = 20_000

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

NO_RULE = "none"

_AGENT_TYPE = Attribute("agent_type", tuple(AgentType))
_SERVER_TAG = Attribute("server_tag", initial=(UNKNOWN_SERVER,))
_EXECUTION_STATUS = Attribute("status", tuple(ExecutionStatus))
_STEP_STATUS = Attribute("status", tuple(StepStatus))

EXECUTIONS = Instrument(
    name="aoss.executions",
    kind=Kind.COUNTER,
    unit="{execution}",
    description="Executions accepted and started.",
    attributes=(_AGENT_TYPE, _SERVER_TAG),
    prometheus_name="aoss_executions_total",
    cardinality_limit=SERVER_CARDINALITY_LIMIT,
    zero_series=True,
)
EXECUTIONS_COMPLETED = Instrument(
    name="aoss.executions.completed",
    kind=Kind.COUNTER,
    unit="{execution}",
    description="Executions that have ended, by how they ended; one for every execution started.",
    attributes=(_AGENT_TYPE, _SERVER_TAG, _EXECUTION_STATUS),
    prometheus_name="aoss_executions_completed_total",
    cardinality_limit=SERVER_CARDINALITY_LIMIT,
    zero_series=True,
)
EXECUTION_STEPS = Instrument(
    name="aoss.execution.steps",
    kind=Kind.COUNTER,
    unit="{step}",
    description="Steps that have ended, recovery steps included.",
    attributes=(_AGENT_TYPE, _STEP_STATUS),
    prometheus_name="aoss_execution_steps_total",
    zero_series=True,
)
EXECUTION_ERRORS = Instrument(
    name="aoss.execution.errors",
    kind=Kind.COUNTER,
    unit="{error}",
    description="Errors by type: failed commands, lost sessions, planner failures, engine failures.",
    attributes=(Attribute("error_type", tuple(ErrorType)), _AGENT_TYPE),
    prometheus_name="aoss_execution_errors_total",
    zero_series=True,
)
EXECUTION_DURATION = Instrument(
    name="aoss.execution.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="Time from the start of an execution to its end.",
    attributes=(_AGENT_TYPE, _EXECUTION_STATUS),
    prometheus_name="aoss_execution_duration_seconds",
    buckets=DURATION_BUCKETS,
)
ACTIVE_EXECUTIONS = Instrument(
    name="aoss.active_executions",
    kind=Kind.UP_DOWN_COUNTER,
    unit="{execution}",
    description="Executions that are running now.",
    attributes=(_AGENT_TYPE,),
    prometheus_name="aoss_active_executions",
    zero_series=True,
)
SELF_HEALING_ATTEMPTS = Instrument(
    name="aoss.self_healing.attempts",
    kind=Kind.COUNTER,
    unit="{attempt}",
    description="Healing attempts that are over; successful only if the failed step's goal was reached.",
    attributes=(_AGENT_TYPE, Attribute("success", ("true", "false"))),
    prometheus_name="aoss_self_healing_attempts_total",
    zero_series=True,
)
API_REQUESTS = Instrument(
    name="aoss.api.requests",
    kind=Kind.COUNTER,
    unit="{request}",
    description="Finished HTTP requests, by route template.",
    attributes=(Attribute("method"), Attribute("endpoint"), Attribute("status_code")),
    prometheus_name="aoss_api_requests_total",
)
DB_OPERATIONS = Instrument(
    name="aoss.db.operations",
    kind=Kind.COUNTER,
    unit="{operation}",
    description="Statements sent to the database, but for those of migrations.",
    attributes=(Attribute("operation"), Attribute("table")),
    prometheus_name="aoss_db_operations_total",
)
EXECUTION_STEP_DURATION = Instrument(
    name="aoss.execution.step.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="Time that a step's command took.",
    attributes=(_AGENT_TYPE, _STEP_STATUS),
    prometheus_name="aoss_execution_step_duration_seconds",
    buckets=DURATION_BUCKETS,
)
# Its zero series are rule by rule, announced at start: not every decision goes with every rule.
COMPLIANCE_CHECKS = Instrument(
    name="aoss.compliance.checks",
    kind=Kind.COUNTER,
    unit="{check}",
    description="Commands judged by compliance, by decision and rule.",
    attributes=(_AGENT_TYPE, Attribute("decision", tuple(Decision)), Attribute("rule", initial=(NO_RULE,))),
    prometheus_name="aoss_compliance_checks_total",
)

CATALOGUE = (
    EXECUTIONS,
    EXECUTIONS_COMPLETED,
    EXECUTION_STEPS,
    EXECUTION_ERRORS,
    EXECUTION_DURATION,
    ACTIVE_EXECUTIONS,
    SELF_HEALING_ATTEMPTS,
    API_REQUESTS,
    DB_OPERATIONS,
    EXECUTION_STEP_DURATION,
    COMPLIANCE_CHECKS,
)
