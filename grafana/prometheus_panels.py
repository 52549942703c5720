"""The pipeline's panels about scrapes and about Prometheus itself."""

from grafana import names
from grafana.panels import BAD, GOOD, NONE_IS_GOOD, AnyPanel, Query, graph, number, states
from grafana.promql import increase, rate, select, total

TARGET = "{{job}} {{instance}}"


def scrapes() -> list[AnyPanel]:
    """Return the panels about what Prometheus scrapes."""
    return [
        states(
            101,
            "Targets",
            "Whether the last scrape of each target worked. Normal: up throughout.",
            Query(select(names.UP), TARGET),
            {"1": ("up", GOOD), "0": ("down", BAD)},
            width=24,
        ),
        graph(
            102,
            "Scrape duration",
            "How long a scrape takes. Normal: steady, and far below the time limit of the scrape.",
            Query(select(names.SCRAPE_DURATION), TARGET),
            unit="s",
        ),
        graph(
            103,
            "Series per scrape",
            "Samples that each target exposes. Normal: levels off; a steady climb is an unbounded label.",
            Query(select(names.SCRAPE_SAMPLES), TARGET),
            unit="short",
        ),
        graph(
            104,
            "New series per scrape",
            "Series that a scrape saw for the first time. Normal: 0 but after starts and new servers.",
            Query(select(names.SCRAPE_SERIES_ADDED), TARGET),
            unit="short",
        ),
    ]


def itself() -> list[AnyPanel]:
    """Return the panels about Prometheus itself."""
    return [
        number(
            401,
            "Rule failures",
            "Evaluations of rules that failed in the visible range. Above 0, alerts may not fire.",
            total(increase(select(names.RULE_FAILURES))),
            unit="short",
            width=6,
            decimals=0,
            levels=NONE_IS_GOOD,
            empty="no rules",
        ),
        number(
            402,
            "Alerts lost",
            "Notifications that Prometheus dropped in the visible range. Above 0, nobody was told.",
            total(increase(select(names.NOTIFICATIONS_DROPPED))),
            unit="short",
            width=6,
            decimals=0,
            levels=NONE_IS_GOOD,
            empty="no Alertmanager",
        ),
        number(
            403,
            "Notification errors",
            "Attempts to reach Alertmanager that failed in the visible range; they are not repeated.",
            total(increase(select(names.NOTIFICATIONS_ERRORS))),
            unit="short",
            width=6,
            decimals=0,
            levels=NONE_IS_GOOD,
            empty="no Alertmanager",
        ),
        number(
            404,
            "Series in memory",
            "Series that Prometheus holds in its head block, of all jobs; its memory follows them.",
            total(select(names.HEAD_SERIES)),
            unit="short",
            width=6,
            decimals=0,
        ),
        graph(
            405,
            "Notifications",
            "Alerts sent to each Alertmanager per second. Normal: 0 while nothing fires.",
            Query(total(rate(select(names.NOTIFICATIONS_SENT)), "alertmanager"), "{{alertmanager}}"),
            unit="ops",
            width=12,
            empty="no Alertmanager",
        ),
        graph(
            406,
            "Notification queue",
            "Alerts that wait for Alertmanager. Normal: 0.",
            Query(select(names.NOTIFICATIONS_QUEUE), "{{alertmanager}}"),
            unit="short",
            width=12,
            empty="no Alertmanager",
        ),
    ]
