"""The reference of the metrics as Markdown, from the catalogue: `python -m telemetry.reference`."""

import sys

from telemetry.catalogue import CATALOGUE, DURATION_BUCKETS, Instrument
from telemetry.watching import SELF_METRICS

INTRODUCTION = """\
# The metrics

Written by `python -m telemetry.reference` from the catalogue; a test holds the two together.

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
        "| Prometheus name | OpenTelemetry name | unit | what it counts or measures |",
        "|---|---|---|---|",
        *(
            f"| `{metric.prometheus_name}` | `{metric.name}` | `{metric.unit}` | {metric.description} |"
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


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
