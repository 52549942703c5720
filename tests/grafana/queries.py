"""The queries that Grafana makes of a dashboard, with the variables filled in as Grafana fills them in."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.support.stack.promql import QueryServer

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"

Kind = Literal["range", "instant", "exemplars", "label_values"]

# What Grafana's own variables are with a scrape interval of 15 s and an hour in view.
BUILT_IN = {"__rate_interval": "1m", "__range": "1h", "__interval": "15s"}

# Places without data in a run in which nothing goes wrong, and why that is right.
EMPTY_WHEN_HEALTHY = {
    "aoss-overview / annotation Firing alerts": "nothing fires",
    "aoss-pipeline / annotation Firing alerts": "nothing fires",
    "aoss-pipeline / Failed exports": "the counter begins with the first failure",
    "aoss-pipeline / Lost: queue full": "the same",
    "aoss-pipeline / Lost: not accepted by the store": "the same",
}

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((.+), *(\w+)\)")


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of a dashboard; `where` names its place, `label` is of kind label_values only."""

    where: str
    kind: Kind
    expr: str
    label: str = ""


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the committed dashboards by uid."""
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return {each["uid"]: each for each in loaded}


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something, those in collapsed rows included."""
    found: list[dict[str, Any]] = []
    for panel in dashboard["panels"]:
        found += panel.get("panels", []) if panel["type"] == "row" else [panel]
    return found


def panel_queries(
    dashboard: Mapping[str, Any], variables: Mapping[str, str] | None = None
) -> list[PanelQuery]:
    """Return every query of a dashboard: of panels, exemplars, annotations and variables.

    `variables` holds values by name without `$`, regular expressions and durations; what is left out is All,
    or for Grafana's own that of an hour in view. Raises ValueError for a variable that nobody defines.
    """
    values = BUILT_IN | all_values(dashboard) | dict(variables or {})
    return [
        PanelQuery(each.where, each.kind, filled_in(each.expr, values), each.label)
        for each in (*_of_panels(dashboard), *_of_annotations(dashboard), *_of_variables(dashboard))
    ]


def all_values(dashboard: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands for All, by variable."""
    return {
        variable["name"]: variable["allValue"]
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    }


def filled_in(expression: str, values: Mapping[str, str]) -> str:
    """Return an expression with the variables replaced by their values.

    Raises ValueError for one without a value.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise ValueError(f"${name} of {expression} is not defined")
        return values[name]

    return _VARIABLE.sub(value, expression)


def ask(server: QueryServer, query: PanelQuery, start: float, end: float, step: float) -> list[Any]:
    """Return what a server answers: series, samples, exemplars or values; NaN throughout is no answer.

    Times are seconds since the epoch, the step is seconds.
    """
    match query.kind:
        case "instant":
            return [sample for sample in server.query(query.expr, at=end) if not math.isnan(sample.value)]
        case "range":
            return [
                series
                for series in server.query_range(query.expr, start, end, step)
                if not all(math.isnan(value) for _, value in series.points)
            ]
        case "exemplars":
            answer = server.get("/api/v1/query_exemplars", query=query.expr, start=start, end=end)
            return [exemplar for series in answer["data"] for exemplar in series["exemplars"]]
        case "label_values":
            return server.label_values(query.label, query.expr)


def _of_panels(dashboard: Mapping[str, Any]) -> Iterator[PanelQuery]:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            where = f"{dashboard['uid']} / {panel['title']} (panel {panel['id']}, {target['refId']})"
            yield PanelQuery(where, "instant" if target["instant"] else "range", target["expr"])
            if target["exemplar"]:
                yield PanelQuery(where, "exemplars", target["expr"])


def _of_annotations(dashboard: Mapping[str, Any]) -> Iterator[PanelQuery]:
    for annotation in dashboard["annotations"]["list"]:
        where = f"{dashboard['uid']} / annotation {annotation['name']}"
        yield PanelQuery(where, "range", annotation["target"]["expr"])


def _of_variables(dashboard: Mapping[str, Any]) -> Iterator[PanelQuery]:
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            parsed = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert parsed, variable["query"]
            where = f"{dashboard['uid']} / variable {variable['name']}"
            yield PanelQuery(where, "label_values", parsed[1], parsed[2])
