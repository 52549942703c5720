"""The overview's panels about errors, healing and compliance."""

from grafana.panels import BAD, GOOD, NONE_IS_GOOD, AnyPanel, Query, graph, number
from grafana.promql import increase, per_minute, rate, ratio, select, total
from telemetry.catalogue import COMPLIANCE_CHECKS, EXECUTION_ERRORS, SELF_HEALING_ATTEMPTS
from telemetry.labels import Decision

_NO_ATTEMPTS = "no healing attempts"

_HEALED = select(SELF_HEALING_ATTEMPTS, 'success="true"')
_ATTEMPTS = select(SELF_HEALING_ATTEMPTS)
_DENIED = select(COMPLIANCE_CHECKS, f'decision="{Decision.DENIED}"')


def panels() -> list[AnyPanel]:
    """Return the panels in reading order."""
    return [
        number(
            501,
            "Healing success",
            "Attempts that reached the failed step's goal / all attempts, in the visible range. Normal: "
            "steady; a fall means that recoveries no longer fit what fails.",
            ratio(total(increase(_HEALED)), total(increase(_ATTEMPTS))),
            unit="percentunit",
            width=6,
            empty=_NO_ATTEMPTS,
        ),
        number(
            502,
            "Healing attempts",
            "Attempts that ended in the visible range.",
            total(increase(_ATTEMPTS)),
            unit="short",
            width=6,
            decimals=0,
            empty=_NO_ATTEMPTS,
        ),
        number(
            503,
            "Errors",
            "Errors of all types in the visible range.",
            total(increase(select(EXECUTION_ERRORS))),
            unit="short",
            width=6,
            decimals=0,
            levels=NONE_IS_GOOD,
        ),
        number(
            504,
            "Commands denied",
            "Commands that compliance denied in the visible range. Normal: 0; see by which rule below.",
            total(increase(_DENIED)),
            unit="short",
            width=6,
            decimals=0,
            levels=NONE_IS_GOOD,
        ),
        graph(
            505,
            "Errors by type",
            "Errors per minute. Many of one type have one cause: connection and authentication point at "
            "servers, planner at the model, system at this service.",
            Query(per_minute(select(EXECUTION_ERRORS), "error_type"), "{{error_type}}"),
            unit="cpm",
            width=12,
            stacked=True,
        ),
        graph(
            506,
            "Errors by agent type",
            "Errors per minute of each agent type.",
            Query(per_minute(select(EXECUTION_ERRORS), "agent_type"), "{{agent_type}}"),
            unit="cpm",
            width=12,
        ),
        graph(
            507,
            "Healing success by agent type",
            "Attempts that reached the failed step's goal / all attempts. Gaps: no attempt ended.",
            Query(
                ratio(total(rate(_HEALED), "agent_type"), total(rate(_ATTEMPTS), "agent_type")),
                "{{agent_type}}",
            ),
            unit="percentunit",
            top=1,
            empty=_NO_ATTEMPTS,
        ),
        graph(
            508,
            "Healing attempts by outcome",
            "Attempts that ended per minute: those that helped and those that did not.",
            Query(per_minute(_HEALED), "helped"),
            Query(per_minute(select(SELF_HEALING_ATTEMPTS, 'success="false"')), "did not help"),
            unit="cpm",
            stacked=True,
            colours={"helped": GOOD, "did not help": BAD},
            empty=_NO_ATTEMPTS,
        ),
        graph(
            509,
            "Compliance denials",
            "Commands denied per minute, by rule and agent type. Normal: none.",
            Query(f"{per_minute(_DENIED, 'rule', 'agent_type')} > 0", "{{rule}} {{agent_type}}"),
            unit="cpm",
            empty="none denied",
        ),
    ]
