"""The pipeline's panels about the Collector, which is optional."""

from grafana import names
from grafana.panels import BAD, NONE_IS_GOOD, AnyPanel, Query, graph, number
from grafana.promql import increase, increase_from_nothing, rate, ratio, select, total

_ABSENT = "no Collector"

QUEUE_LEVELS = ((None, "transparent"), (0.8, BAD))


def panels() -> list[AnyPanel]:
    """Return the panels in reading order."""
    return [
        number(
            301,
            "Refused",
            "Points that the Collector refused in the visible range, for want of memory; senders try again.",
            total(increase(select(names.REFUSED))),
            unit="short",
            width=8,
            decimals=0,
            levels=NONE_IS_GOOD,
            empty=_ABSENT,
        ),
        number(
            302,
            "Lost: queue full",
            "Points dropped in the visible range because an exporter's queue was full.",
            total(increase_from_nothing(select(names.ENQUEUE_FAILED))),
            unit="short",
            width=8,
            decimals=0,
            levels=NONE_IS_GOOD,
            empty="none",
        ),
        number(
            303,
            "Lost: not accepted by the store",
            "Points that an exporter gave up on in the visible range.",
            total(increase_from_nothing(select(names.SEND_FAILED))),
            unit="short",
            width=8,
            decimals=0,
            levels=NONE_IS_GOOD,
            empty="none",
        ),
        graph(
            304,
            "Points in and out",
            "Points per second that receivers accepted and that each exporter sent. Normal: each exporter "
            "sends what came in.",
            Query(total(rate(select(names.ACCEPTED)), "receiver"), "in {{receiver}}"),
            Query(total(rate(select(names.SENT)), "exporter"), "out {{exporter}}"),
            unit="cps",
            empty=_ABSENT,
        ),
        graph(
            305,
            "Queue fill",
            "How full each exporter's queue is. Normal: near 0; it fills while a store is down, and at 100% "
            "points are lost.",
            Query(
                ratio(
                    total(select(names.QUEUE_SIZE), "exporter"),
                    total(select(names.QUEUE_CAPACITY), "exporter"),
                ),
                "{{exporter}}",
            ),
            unit="percentunit",
            top=1,
            levels=QUEUE_LEVELS,
            empty=_ABSENT,
        ),
        graph(
            306,
            "Collector memory",
            "Resident memory. Normal: well below the memory limiter's limit, where it begins to refuse.",
            Query(select(names.COLLECTOR_MEMORY), "{{instance}}"),
            unit="bytes",
            empty=_ABSENT,
        ),
    ]
