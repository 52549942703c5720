"""Every query of every dashboard, asked of the Prometheus that watched the run."""

from typing import Any

import pytest

from telemetry.labels import AgentType
from tests.grafana.queries import PanelQuery, ask, dashboards, panel_queries
from tests.stack.evidence import JOB, Run
from tests.stack.scenario import TAGS

pytestmark = pytest.mark.timeout(400)  # the first test waits for the run

# As Grafana has them where scrapes are a second apart and five minutes are in view.
BUILT_IN = {"__rate_interval": "4s", "__interval": "1s", "__range": "5m"}

QUERIES = [query for each in dashboards().values() for query in panel_queries(each, BUILT_IN)]


def answer(run: Run, query: PanelQuery) -> list[Any]:
    """Return what Prometheus answers over the whole run."""
    return ask(run.prometheus, query, run.begun, run.over, 1)


def the_query(where: str, kind: str) -> PanelQuery:
    """Return the overview's one query whose place begins so."""
    place = f"aoss-overview / {where}"
    (query,) = (each for each in QUERIES if each.where.startswith(place) and each.kind == kind)
    return query


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.where}, {query.kind}")
def test_the_query_returns_data(run: Run, query: PanelQuery) -> None:
    """The query has data over a run in which everything happened that a panel shows."""
    assert answer(run, query), query.expr


def test_the_queries_return_data_of_one_agent_and_server(run: Run) -> None:
    """With each variable set to one value, every query of the overview still has data."""
    (instance,) = {target["labels"]["instance"] for target in run.prometheus.targets()[JOB]}
    chosen = {"job": JOB, "instance": instance, "agent_type": "general", "server_tag": "localhost"}
    overview = panel_queries(dashboards()["aoss-overview"], BUILT_IN | chosen)
    assert [query.where for query in overview if not answer(run, query)] == []


def test_the_variables_have_their_values(run: Run) -> None:
    """The variables offer what there is: the job, the personas and the registered servers."""
    offered = {
        name: set(map(str, answer(run, the_query(f"variable {name}", "label_values"))))
        for name in ("job", "agent_type", "server_tag")
    }
    assert offered == {"job": {JOB}, "agent_type": set(AgentType), "server_tag": {*TAGS, "unknown"}}


def test_restarts_are_annotated(run: Run) -> None:
    """Each of the backend's two runs has one mark."""
    queries = panel_queries(dashboards()["aoss-overview"], BUILT_IN | {"job": JOB})
    (restarts,) = (query for query in queries if query.where.endswith("annotation Restarts"))
    marks = answer(run, restarts)
    assert [len(series.points) for series in marks] == [1, 1]
    assert len({series.labels["service_instance_id"] for series in marks}) == 2


def test_a_firing_alert_is_annotated_and_sent(run: Run) -> None:
    """The alert of the killed worker's execution is on the dashboard, and Alertmanager holds it."""
    name = "AossExecutionsInterrupted"
    shown = answer(run, the_query("annotation Firing alerts", "range"))
    assert name in {series.labels["alertname"] for series in shown}
    assert name in {alert["labels"]["alertname"] for alert in run.alertmanager.alerts()}


def test_exemplars_name_executions(run: Run) -> None:
    """The exemplars on the heat map lead to executions of the run."""
    heat_map = the_query("Execution durations", "exemplars")
    named = {exemplar["labels"]["execution_id"] for exemplar in answer(run, heat_map)}
    assert named & {each.id for each in run.executions}
