"""The overview's panels about executions: now, where, and how long."""

from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.names import SUCCESS_OBJECTIVE
from grafana.panels import COLOURS, NONE_IS_GOOD, AnyPanel, Query, bars, duration_map, graph, number, rows_of
from grafana.promql import (
    RANGE,
    average,
    increase,
    one_of,
    per_minute,
    quantile,
    rate,
    ratio,
    select,
    total,
)
from telemetry.catalogue import (
    ACTIVE_EXECUTIONS,
    EXECUTION_DURATION,
    EXECUTION_STEP_DURATION,
    EXECUTION_STEPS,
    EXECUTIONS,
    EXECUTIONS_COMPLETED,
)
from telemetry.labels import ExecutionStatus, StepStatus

IDLE = "no executions"

_SUCCEEDED = select(EXECUTIONS_COMPLETED, f'status="{ExecutionStatus.SUCCESS}"')
_BAD = one_of(ExecutionStatus.FAILED, ExecutionStatus.INTERRUPTED)
_WENT_BAD = select(EXECUTIONS_COMPLETED, f'status=~"{_BAD}"')
_BUCKETS = select(EXECUTION_DURATION, suffix="_bucket")
# Not `!=` Cancelled: that would count what exceeds a cardinality limit, which has no status.
_COUNTED = select(EXECUTIONS_COMPLETED, f'status=~"{ExecutionStatus.SUCCESS}|{_BAD}"')


def now() -> list[AnyPanel]:
    """Return the panels that answer at a glance."""
    failed_steps = select(EXECUTION_STEPS, f'status="{StepStatus.FAILED}"')
    return [
        number(
            101,
            "Executions",
            "Executions started in the visible range. An increase is extrapolated to the range's ends, so a "
            "count can be off by a few.",
            total(increase(select(EXECUTIONS))),
            unit="short",
            decimals=0,
            empty=IDLE,
        ),
        number(
            102,
            "Success rate",
            "Succeeded / (succeeded + failed + interrupted), in the visible range; cancelled do not count. "
            "Normal: above the objective.",
            ratio(total(increase(_SUCCEEDED)), total(increase(_COUNTED))),
            unit="percentunit",
            empty=IDLE,
        ),
        number(
            103,
            "Active",
            "Executions that run now. Normal: returns to 0; staying up without completions means stuck.",
            total(select(ACTIVE_EXECUTIONS)),
            unit="short",
            decimals=0,
        ),
        number(
            104,
            "Average duration",
            "Mean time of the executions that ended in the visible range.",
            average(EXECUTION_DURATION, over=RANGE),
            unit=EXECUTION_DURATION.unit,
            empty=IDLE,
        ),
        number(
            105,
            "Median duration",
            "Half of the executions that ended in the visible range took no longer.",
            quantile(0.5, EXECUTION_DURATION, over=RANGE),
            unit=EXECUTION_DURATION.unit,
            empty=IDLE,
        ),
        number(
            106,
            "Failed steps",
            "Steps that failed in the visible range, recovery steps included. Normal: few, and healed.",
            total(increase(failed_steps)),
            unit="short",
            decimals=0,
            levels=NONE_IS_GOOD,
            empty=IDLE,
        ),
        graph(
            107,
            "Executions per minute",
            "Executions started, by agent type.",
            Query(per_minute(select(EXECUTIONS), "agent_type"), "{{agent_type}}"),
            unit="cpm",
            empty=IDLE,
        ),
        graph(
            108,
            "How executions end",
            "Executions that ended per minute, by how. Interrupted: their worker died or was shut down.",
            Query(per_minute(select(EXECUTIONS_COMPLETED), "status"), "{{status}}"),
            unit="cpm",
            stacked=True,
            colours=COLOURS,
            empty=IDLE,
        ),
        graph(
            109,
            "Success rate over time",
            "Succeeded / (succeeded + failed + interrupted), with the objective. Gaps: nothing ended.",
            Query(ratio(total(rate(_SUCCEEDED)), total(rate(_COUNTED))), "success rate"),
            Query(SUCCESS_OBJECTIVE, "objective"),
            unit="percentunit",
            top=1,
            dashed=("objective",),
            empty=IDLE,
        ),
    ]


def where() -> list[AnyPanel]:
    """Return the panels by agent type and by server."""
    return [
        bars(
            301,
            "Executions by agent type",
            "Executions started in the visible range.",
            Query(total(increase(select(EXECUTIONS)), "agent_type"), "{{agent_type}}", now=True),
            unit="short",
            empty=IDLE,
        ),
        graph(
            302,
            "Active by agent type",
            "Executions that run now. Normal: follows the load and returns to 0.",
            Query(total(select(ACTIVE_EXECUTIONS), "agent_type"), "{{agent_type}}"),
            unit="short",
            width=6,
        ),
        rows_of(
            303,
            "Agents",
            "Executions of the visible range by agent type. Success: as in the success rate.",
            _outcomes("agent_type"),
            names={"agent_type": "Agent type"},
            sort_by="Started",
            empty=IDLE,
        ),
        rows_of(
            304,
            "Servers",
            "Executions of the visible range by server; `unknown` had none. A row without a server holds "
            "what exceeded the limit of series. Normal: no server stands out.",
            _outcomes("server_tag"),
            names={"server_tag": "Server"},
            sort_by="Failed or interrupted",
            empty=IDLE,
        ),
        graph(
            305,
            "Servers with most failures",
            "Executions per minute that failed or were interrupted: the ten worst servers at each moment.",
            Query(f"topk(10, {per_minute(_WENT_BAD, 'server_tag')} > 0)", "{{server_tag}}"),
            unit="cpm",
            width=12,
            empty="no failures",
        ),
    ]


def _outcomes(key: str) -> dict[str, tuple[str, str]]:
    return {
        "Started": (total(increase(select(EXECUTIONS)), key), "short"),
        "Succeeded": (total(increase(_SUCCEEDED), key), "short"),
        "Failed or interrupted": (total(increase(_WENT_BAD), key), "short"),
        "Success": (ratio(total(increase(_SUCCEEDED), key), total(increase(_COUNTED), key)), "percentunit"),
    }


def durations() -> list[AnyPanel]:
    """Return the panels about how long executions and steps take."""
    return [
        graph(
            401,
            "Execution duration",
            "50%, 95% and 99% of executions take no longer. A diamond is one execution: click to open it.",
            Query(quantile(0.5, EXECUTION_DURATION), "p50"),
            Query(quantile(0.95, EXECUTION_DURATION), "p95", exemplars=True),
            Query(quantile(0.99, EXECUTION_DURATION), "p99"),
            unit=EXECUTION_DURATION.unit,
            width=12,
            empty=IDLE,
        ),
        duration_map(
            402,
            "Execution durations",
            "How many executions ended in each range of durations; a diamond opens one of them. Two bands: "
            "two kinds of work, or a time limit.",
            Query(total(rate(_BUCKETS), "le"), "{{le}}", exemplars=True, shape=PromQueryFormat.HEATMAP),
        ),
        graph(
            403,
            "Duration p95 by agent type",
            "95% of an agent type's executions take no longer.",
            Query(quantile(0.95, EXECUTION_DURATION, by=("agent_type",)), "{{agent_type}}"),
            unit=EXECUTION_DURATION.unit,
            empty=IDLE,
        ),
        graph(
            404,
            "Step duration",
            "How long single commands take, by outcome. Failed steps at a constant height: a time limit.",
            Query(quantile(0.5, EXECUTION_STEP_DURATION, by=("status",)), "{{status}} p50"),
            Query(quantile(0.95, EXECUTION_STEP_DURATION, by=("status",)), "{{status}} p95"),
            unit=EXECUTION_STEP_DURATION.unit,
            empty="no steps",
        ),
        graph(
            405,
            "Steps per minute",
            "Steps that ended, recovery steps included, by outcome.",
            Query(per_minute(select(EXECUTION_STEPS), "status"), "{{status}}"),
            unit="cpm",
            stacked=True,
            colours=COLOURS,
            empty="no steps",
        ),
    ]
