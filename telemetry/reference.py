"""The reference of the metrics, from the catalogue: as a page, a table or JSON."""

import json
from typing import Any

from telemetry.catalogue import CATALOGUE, DURATION_BUCKETS, Instrument
from telemetry.watching import SELF_METRICS, SelfMetric

INTRODUCTION = """\
# The metrics

Written by `aoss metrics --format markdown` from the catalogue; a test holds the two together.

"""


STANDARD = """\
`http.server.*` for requests; `process.*` for each worker, told apart by the label `worker`, the lowest number
that was free when it began; with `AOSS_GENAI_METRICS`, `gen_ai.client.*` for calls to a model."""


def as_markdown() -> str:
    """Return the reference page."""
    rows = [
        "| Prometheus name | OpenTelemetry name | kind | unit | labels | what it counts or measures |",
        "|---|---|---|---|---|---|",
        *(_row(instrument) for instrument in CATALOGUE),
    ]
    labels = [
        "## Labels with a closed set of values",
        "",
        *(f"- `{key}` of {where}: {values}" for (key, values), where in _closed_labels().items()),
    ]
    buckets = " ".join(f"{bound:g}" for bound in DURATION_BUCKETS)
    return INTRODUCTION + "\n".join(
        [*rows, "", *labels, "", "## Buckets of the durations, in seconds", "", buckets, "", *_others()]
    )


def _others() -> list[str]:
    return [
        "## The pipeline itself",
        "",
        "| Prometheus name | OpenTelemetry name | kind | unit | labels | what it counts or measures |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{metric.prometheus_name}` | `{metric.name}` | {metric.kind} | `{metric.unit}` "
            f"| {', '.join(f'`{label}`' for label in metric.labels)} | {metric.description} |"
            for metric in SELF_METRICS
        ),
        "",
        "## Standard metrics",
        "",
        STANDARD,
        "",
    ]


def _row(instrument: Instrument) -> str:
    labels = ", ".join(f"`{attribute.key}`" for attribute in instrument.attributes)
    zero = " Every known series exists at 0 before its first event." if instrument.zero_series else ""
    return (
        f"| `{instrument.prometheus_name}` | `{instrument.name}` | {instrument.kind} | `{instrument.unit}` "
        f"| {labels} | {instrument.description}{zero} |"
    )


def _closed_labels() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], list[str]] = {}
    for instrument in CATALOGUE:
        for attribute in instrument.attributes:
            if attribute.values:
                values = ", ".join(f"`{value}`" for value in attribute.values)
                found.setdefault((attribute.key, values), []).append(f"`{instrument.prometheus_name}`")
    return {key: ", ".join(names) for key, names in found.items()}


def as_table() -> str:
    """Return a table for a terminal: name, kind, unit, labels."""
    rows = [
        ("NAME", "KIND", "UNIT", "LABELS"),
        *(
            (each["prometheusName"], each["kind"], each["unit"], ", ".join(each["labels"]))
            for each in _metrics()
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


def as_json() -> str:
    """Return every metric as a JSON array; a label's array holds its values, none where they are open."""
    return json.dumps(_metrics(), indent=2) + "\n"


def _metrics() -> list[dict[str, Any]]:
    own = [
        _fields(each, {attribute.key: list(attribute.values) for attribute in each.attributes})
        for each in CATALOGUE
    ]
    return own + [_fields(each, {label: [] for label in each.labels}) for each in SELF_METRICS]


def _fields(metric: Instrument | SelfMetric, labels: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "prometheusName": metric.prometheus_name,
        "name": metric.name,
        "kind": str(metric.kind),
        "unit": metric.unit,
        "description": metric.description,
        "labels": labels,
    }
