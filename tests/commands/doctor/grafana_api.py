"""A server that answers as Grafana documents its HTTP API.

Source: Grafana documentation, "Dashboard HTTP API", "Data source HTTP API" and "Other HTTP API".
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.commands.doctor.servers import JSON, Page, answering

OVERVIEW, PIPELINE = (f"/api/dashboards/uid/{uid}" for uid in ("aoss-overview", "aoss-pipeline"))
SOURCE = "/api/datasources/uid/aoss-prometheus/health"


def page(code: int = 200, /, **fields: object) -> Page:
    """Return an answer in JSON."""
    return Page(code, JSON, json.dumps(fields))


PROVISIONED = page(meta={"provisioned": True, "provisionedExternalId": "x.json"}, dashboard={"title": "x"})
HEALTHY = {
    "/api/health": page(database="ok", version="13.2.3", commit="0"),
    OVERVIEW: PROVISIONED,
    PIPELINE: PROVISIONED,
    SOURCE: page(status="OK", message="Successfully queried the Prometheus API."),
}


@contextmanager
def healthy_grafana() -> Iterator[str]:
    """Answer as a Grafana with all that this project provisions."""
    with answering(HEALTHY) as url:
        yield url
