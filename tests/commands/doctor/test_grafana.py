"""The section grafana. No Grafana runs here: the server of these tests speaks the API that it documents."""

import json
from pathlib import Path

import pytest
import yaml

from app.doctor.findings import Verdict
from app.doctor.grafana import DASHBOARDS, DATA_SOURCE, examine_grafana
from app.doctor.web import Web, basic, bearer
from tests.commands.doctor.conftest import Stack, the, verdicts
from tests.commands.doctor.grafana_api import HEALTHY, PIPELINE, SOURCE, page
from tests.commands.doctor.servers import HTML, Page, answering

GRAFANA = Path(__file__).parents[3] / "grafana"


def test_names_are_those_of_the_files() -> None:
    """The dashboards and the data source that are looked for are those in grafana/."""
    files = [json.loads(path.read_text()) for path in sorted(GRAFANA.glob("dashboards/*.json"))]
    assert tuple(each["uid"] for each in files) == DASHBOARDS
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())
    assert [each["uid"] for each in sources["datasources"]] == [DATA_SOURCE]


def test_nobody_listens(web: Web, nobody: str) -> None:
    """A Grafana that is down is a failure, and the rest is skipped."""
    assert verdicts(examine_grafana(web, nobody, None)) == {
        "grafana.answers": "fail",
        "grafana.dashboards": "skipped",
        "grafana.datasource": "skipped",
    }


def test_another_server(web: Web, stack: Stack) -> None:
    """Prometheus in Grafana's place is told."""
    assert "no Grafana" in the(examine_grafana(web, stack.prometheus.url, None), "grafana.answers").reason


@pytest.mark.parametrize(
    ("path", "answer", "check", "words"),
    [
        ("/api/health", page(database="failing", version="13.2.3"), "answers", "database is failing"),
        (PIPELINE, page(404, message="Dashboard not found"), "dashboards", "aoss-pipeline is not there"),
        (PIPELINE, page(403, message="no permission"), "dashboards", "403"),
        (SOURCE, page(404, message="Data source not found"), "datasource", "is not there"),
        (SOURCE, page(400, status="ERROR", message="no such host"), "datasource", "no such host"),
        (SOURCE, Page(502, HTML, "<p>Bad gateway</p>"), "datasource", "Bad gateway"),
    ],
)
def test_what_is_wrong(web: Web, path: str, answer: Page, check: str, words: str) -> None:
    """Each of Grafana's own failures has its line, with a remedy."""
    with answering(HEALTHY | {path: answer}) as url:
        findings = examine_grafana(web, url, None)
    wrong = [each for each in findings if each.verdict in (Verdict.FAIL, Verdict.WARN)]
    assert [(each.check, each.verdict) for each in wrong] == [(check, Verdict.FAIL)]
    assert (words in wrong[0].reason, wrong[0].remedy != "") == (True, True)


def test_imported_by_hand(web: Web) -> None:
    """A dashboard that is there without being provisioned is a warning."""
    with answering(HEALTHY | {PIPELINE: page(meta={"provisioned": False}, dashboard={})}) as url:
        found = verdicts(examine_grafana(web, url, None))
    assert found["grafana.dashboards"] == "ok,warn"


@pytest.mark.parametrize("right", [bearer("glsa_x"), basic("admin:secret")])
def test_authorization(web: Web, right: str) -> None:
    """A token, or a user with a password, lets in; without it the remedy names the option."""
    with answering(HEALTHY, authorization=right) as url:
        assert set(verdicts(examine_grafana(web, url, right)).values()) == {"ok", "ok,ok"}
        refused = the(examine_grafana(web, url, None), "grafana.dashboards")
    assert (refused.verdict, "--grafana-token-file" in refused.remedy) == (Verdict.FAIL, True)
