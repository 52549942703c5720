"""What the dashboards share: variables, annotations, links between them, and the grid."""

from collections.abc import Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.names import ALERTS, TARGET_INFO
from grafana.panels import BAD, DATASOURCE, WARNING, AnyPanel
from grafana.promql import SCRAPED

TAG = "aoss"
REFRESH = "15s"

# Every scraped series has a job and an instance. The series that takes what exceeds a cardinality limit has
# neither agent_type nor server_tag: only `.*` counts it in.
ALL_SCRAPED = ".+"
ALL = ".*"


class Section(NamedTuple):
    """A row of the dashboard and the panels under it, in reading order."""

    id: int
    title: str
    panels: Sequence[AnyPanel]


def dashboard(
    uid: str, title: str, description: str, variables: Sequence[QueryVariable], sections: Sequence[Section]
) -> Dashboard:
    """Return a dashboard with everything that all of them have."""
    built = Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    built.refresh(REFRESH).time("now-1h", "now").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    built.with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for each in variables:
        built.with_variable(each)
    built.annotation(restarts()).annotation(firing_alerts())
    built.link(
        DashboardLink("AOSS dashboards")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)  # noqa: FBT003 - the SDK's own setters
        .include_vars(True)  # noqa: FBT003
    )
    for section in sections:
        built.with_row(Row(section.title).id(section.id))
        for panel in section.panels:
            built.with_panel(panel)
    return built


def variable(name: str, label: str, series: str, every: str) -> QueryVariable:
    """Return a variable with the values of the label `name` in some series; `every` stands for All."""
    query = f"label_values({series}, {name})"
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)  # noqa: FBT003 - the SDK's own setters
        .include_all(True)  # noqa: FBT003
        .all_value(every)
        .current(VariableOption(True, ["All"], ["$__all"]))  # noqa: FBT003
    )


def restarts() -> AnnotationQuery:
    """Mark where a target reports a run that it did not report in the day before.

    `changes()` of a start time would miss a restart: a run is a label, so a new run is a new series.
    """
    run = "job, instance, service_instance_id"
    info = f"{TARGET_INFO}{{{SCRAPED}}}"
    expression = f"group by ({run}) ({info}) unless on ({run}) last_over_time({info}[1d] offset $__interval)"
    return _annotation("Restarts", expression, WARNING, "Run began", "{{job}} {{instance}}")


def firing_alerts() -> AnnotationQuery:
    """Mark where an alert fires; one that is not about a single job or instance has no such label."""
    expression = f'{ALERTS}{{alertstate="firing",job=~"$job|",instance=~"$instance|"}}'
    return _annotation("Firing alerts", expression, BAD, "{{alertname}}", "{{severity}} {{job}} {{instance}}")


def _annotation(name: str, expression: str, colour: str, title: str, text: str) -> AnnotationQuery:
    # 60 s is the data source's own step for annotations; $__interval is that, or longer over a long range.
    target = prometheus.Dataquery().expr(expression).ref_id("Anno").interval("60s")
    annotation = AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour)  # noqa: FBT003
    return annotation.target(target).title_format(title).text_format(text).tag_keys("job,instance")
