"""The overview's panels about the objective, which stands once, in the recording rules."""

from grafana.names import (
    BAD_RATIO,
    BUDGET_WINDOW,
    BURN_WINDOWS,
    LATENCY_OBJECTIVE,
    SLOW_RATIO,
    SUCCESS_OBJECTIVE,
)
from grafana.panels import BAD, GOOD, WARNING, AnyPanel, Query, graph, number

# The factors at which the alerts page and open a ticket: 2% of 30 days' budget in 1 h, 5% in 6 h, 10% in 3 d.
BURN_LEVELS = ((None, GOOD), (1.0, WARNING), (6.0, BAD), (14.4, BAD))
BUDGET_LEVELS = ((None, BAD), (0.0, WARNING), (0.25, GOOD))


def recorded(name: str, window: str) -> str:
    """Return a recorded ratio of the chosen jobs; rules add up the instances, agent types and servers."""
    return f'{name}{window}{{job=~"$job"}}'


def panels() -> list[AnyPanel]:
    """Return the panels in reading order."""
    allowed = f"scalar(1 - {SUCCESS_OBJECTIVE})"
    return [
        number(
            201,
            "Objective",
            "The share of executions that are to succeed over 30 days. Failed and Interrupted count against "
            "it, Cancelled does not count.",
            SUCCESS_OBJECTIVE,
            unit="percentunit",
            width=3,
            height=8,
        ),
        number(
            202,
            "Success over 30 days",
            "The share that did succeed, over 30 days or since there is data. Normal: above the objective.",
            f"1 - {recorded(BAD_RATIO, BUDGET_WINDOW)}",
            unit="percentunit",
            width=4,
            height=8,
            empty="no executions",
        ),
        number(
            203,
            "Error budget left",
            "What is left of the failures that the objective allows in 30 days. Normal: above 25%; below 0 "
            "the objective is missed.",
            f"1 - {recorded(BAD_RATIO, BUDGET_WINDOW)} / {allowed}",
            unit="percentunit",
            width=5,
            height=8,
            levels=BUDGET_LEVELS,
            empty="no executions",
        ),
        graph(
            204,
            "Burn rate",
            "How many times faster than allowed the budget is used. 1 uses it up in exactly 30 days. "
            "The lines: 1 (ticket over 3 d), 6 (page over 6 h), 14.4 (page over 1 h).",
            *(
                Query(f"{recorded(BAD_RATIO, window)} / {allowed}", f"{{{{job}}}} {window}")
                for window in BURN_WINDOWS
            ),
            unit="suffix:x",
            width=6,
            levels=BURN_LEVELS,
            empty="no executions",
        ),
        graph(
            205,
            "Fast enough",
            "Successful executions that took at most a minute, and its objective. Normal: above the dashes.",
            Query(f"1 - {recorded(SLOW_RATIO, '1h')}", "{{job}} 1h"),
            Query(LATENCY_OBJECTIVE, "objective"),
            unit="percentunit",
            width=6,
            top=1,
            dashed=("objective",),
            empty="no executions",
        ),
    ]
