"""Grafana: are the dashboards provisioned, and does the data source work?

Source: Grafana documentation, "Dashboard HTTP API", "Data source HTTP API" and "Other HTTP API".
"""

from pydantic import BaseModel

from app.doctor.findings import Finding, Section
from app.doctor.web import Answer, ForeignAnswerError, Web
from app.fetching import NoAnswerError

CHECKS = ("answers", "dashboards", "datasource")

# As in grafana/dashboards and grafana/provisioning.
DASHBOARDS = ("aoss-overview", "aoss-pipeline")
DATA_SOURCE = "aoss-prometheus"

_PROVISION = (
    "Mount grafana/provisioning and grafana/dashboards as docs/grafana.md says; Grafana's log names errors"
)
_ADDRESS = "Start Grafana, or give its address with --grafana"
_TOKEN = "Give --grafana-token-file FILE: a service account's token, or USER:PASSWORD"  # noqa: S105 - the option


class _Health(BaseModel):
    database: str
    version: str = "of unknown version"


class _Meta(BaseModel):
    provisioned: bool = False


class _Dashboard(BaseModel):
    meta: _Meta


class _SourceHealth(BaseModel):
    status: str = ""
    message: str = ""


class _RefusedError(Exception):
    """Say that the token is missing, wrong or too weak."""


def examine_grafana(web: Web, url: str, authorization: str | None) -> list[Finding]:
    """Return the findings about a Grafana; `authorization` is the header to send."""
    section = Section("grafana", CHECKS)
    try:
        health = web.get(f"{url}/api/health").parsed(_Health)
    except NoAnswerError as error:
        section.fail("answers", str(error), _ADDRESS)
        section.skip_rest("Grafana does not answer")
        return section.findings
    except ForeignAnswerError as error:
        section.fail("answers", f"{url} is no Grafana: {error}", "Give the address of Grafana with --grafana")
        section.skip_rest("this is no Grafana")
        return section.findings
    if health.database == "ok":
        section.ok("answers", f"Grafana {health.version} answers at {url}")
    else:
        section.fail("answers", f"its database is {health.database}", "See the log of Grafana")
    for check, examine in (("dashboards", _check_dashboards), ("datasource", _check_data_source)):
        try:
            examine(section, web, url, authorization)
        except _RefusedError as error:
            section.fail(check, str(error), _TOKEN)
        except (NoAnswerError, ForeignAnswerError) as error:
            section.fail(check, str(error), "See the log of Grafana")
    return section.findings


def _check_dashboards(section: Section, web: Web, url: str, authorization: str | None) -> None:
    for uid in DASHBOARDS:
        _check_dashboard(section, web, url, uid, authorization)


def _check_dashboard(section: Section, web: Web, url: str, uid: str, authorization: str | None) -> None:
    answer = _admitted(web.get(f"{url}/api/dashboards/uid/{uid}", authorization))
    if answer.status == 404:
        section.fail("dashboards", f"{uid} is not there", _PROVISION)
    elif answer.parsed(_Dashboard).meta.provisioned:
        section.ok("dashboards", f"{uid} is provisioned")
    else:
        section.warn(
            "dashboards", f"{uid} was imported by hand, and will not follow a new version", _PROVISION
        )


def _check_data_source(section: Section, web: Web, url: str, authorization: str | None) -> None:
    # Grafana answers 400 where the check itself failed, with the same fields.
    answer = _admitted(web.get(f"{url}/api/datasources/uid/{DATA_SOURCE}/health", authorization))
    if answer.status == 404:
        section.fail("datasource", f"{DATA_SOURCE} is not there", _PROVISION)
        return
    health = answer.parsed(_SourceHealth)
    if health.status == "OK":
        section.ok("datasource", f"{DATA_SOURCE}: {health.message}")
    else:
        section.fail(
            "datasource",
            f"{DATA_SOURCE}: {health.message or answer.said()}",
            "Set url in grafana/provisioning/datasources/prometheus.yaml to where Grafana reaches Prometheus",
        )


def _admitted(answer: Answer) -> Answer:
    if answer.status in (401, 403):
        raise _RefusedError(f"Grafana answers {answer.said()}")
    return answer
