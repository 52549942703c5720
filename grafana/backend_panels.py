"""The pipeline's panels about the backend's own part: workers, series, collections, exports, processes."""

from grafana import names
from grafana.panels import BAD, GOOD, NONE_IS_GOOD, AnyPanel, Levels, Query, graph, number
from grafana.promql import increase, increase_from_nothing, quantile, rate, select, total
from telemetry.watching import (
    COLLECTION_DURATION,
    DROPPED_SERIES,
    EXPORTED,
    FOLDED_WORKERS,
    LIVE_WORKERS,
    OVERFLOWED_SETS,
    SKIPPED_SEGMENTS,
)

WORKERS_LEVELS: Levels = ((None, BAD), (1, GOOD))
_WORKER = "{{instance}} worker {{worker}}"
_NOT_PUSHING = "nothing is pushed"


def panels() -> list[AnyPanel]:
    """Return the panels in reading order."""
    failed = select(EXPORTED, 'error_type!=""')
    return [
        number(
            201,
            "Live workers",
            "Worker processes whose numbers are collected. Normal: as many as the service was started with.",
            total(select(LIVE_WORKERS)),
            unit="short",
            decimals=0,
            levels=WORKERS_LEVELS,
        ),
        number(
            202,
            "Workers replaced",
            "Workers that ended in the visible range and whose numbers were kept. Normal: 0, or as many "
            "as are recycled.",
            total(increase(select(FOLDED_WORKERS))),
            unit="short",
            decimals=0,
        ),
        number(
            203,
            "Skipped files",
            "Files that the last collection could not read. Above 0, a worker's numbers are missing.",
            total(select(SKIPPED_SEGMENTS)),
            unit="short",
            decimals=0,
            levels=NONE_IS_GOOD,
        ),
        number(
            204,
            "Overflowed series",
            "Label sets beyond a cardinality limit in the visible range: counted together, without labels.",
            total(increase(select(OVERFLOWED_SETS))),
            unit="short",
            decimals=0,
            levels=NONE_IS_GOOD,
        ),
        number(
            205,
            "Dropped series",
            "Series dropped for want of space in the visible range. Above 0, numbers are too small.",
            total(increase(select(DROPPED_SERIES))),
            unit="short",
            decimals=0,
            levels=NONE_IS_GOOD,
        ),
        number(
            206,
            "Failed exports",
            "Data points whose push failed in the visible range; the next push brings the sums up to date.",
            total(increase_from_nothing(failed)),
            unit="short",
            decimals=0,
            levels=NONE_IS_GOOD,
            empty="none",
        ),
        graph(
            207,
            "Workers",
            "Live workers by instance. A dip is a worker that died and was replaced.",
            Query(select(LIVE_WORKERS), "{{instance}}"),
            unit="short",
        ),
        graph(
            208,
            "Collection duration p95",
            "Time to add up all workers for a scrape or a push. Normal: milliseconds, growing with series.",
            Query(
                quantile(0.95, COLLECTION_DURATION, by=("otel_component_name",)), "{{otel_component_name}}"
            ),
            unit=COLLECTION_DURATION.unit,
        ),
        graph(
            209,
            "Exports",
            "Data points exported per second by exporter, and those that failed, by error.",
            Query(
                total(rate(select(EXPORTED, 'error_type=""')), "otel_component_name"),
                "{{otel_component_name}}",
            ),
            Query(
                total(rate(failed), "otel_component_name", "error_type"),
                "{{otel_component_name}} {{error_type}}",
            ),
            unit="cps",
            empty=_NOT_PUSHING,
        ),
        graph(
            210,
            "Memory",
            "Resident memory of each worker. Normal: levels off after minutes under load.",
            Query(select(names.PROCESS_MEMORY), _WORKER),
            unit="bytes",
        ),
        graph(
            211,
            "CPU",
            "Cores that each worker keeps busy. Normal: well below 1; at 1 a worker is saturated.",
            Query(total(rate(select(names.PROCESS_CPU)), "instance", "worker"), _WORKER),
            unit="short",
        ),
        graph(
            212,
            "Open files and threads",
            "File descriptors and threads of each worker. Normal: level; a climb is a leak.",
            Query(select(names.PROCESS_DESCRIPTORS), f"{_WORKER} files"),
            Query(select(names.PROCESS_THREADS), f"{_WORKER} threads"),
            unit="short",
        ),
    ]
