"""The reference page is what the catalogue says."""

import asyncio
import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import httpx

from telemetry.catalogue import CATALOGUE
from telemetry.pipeline import Pipeline
from telemetry.reference import as_json, as_markdown, as_table
from telemetry.settings import TelemetrySettings
from telemetry.watching import SELF_METRICS
from tests.telemetry.scraping import scrape

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_page_is_up_to_date() -> None:
    """The committed page is the one that the catalogue makes."""
    assert PAGE.read_text(encoding="utf-8") == as_markdown()


def test_every_instrument_is_there() -> None:
    """The page names every instrument under both names."""
    page = as_markdown()
    assert [each.name for each in CATALOGUE if f"`{each.name}`" not in page] == []
    assert [each.name for each in CATALOGUE if f"`{each.prometheus_name}`" not in page] == []


def test_table_and_json_list_every_metric() -> None:
    """The table has a line for each metric, and the JSON its kind, unit and labels."""
    metrics = json.loads(as_json())
    names = [metric.prometheus_name for metric in (*CATALOGUE, *SELF_METRICS)]
    assert [metric["prometheusName"] for metric in metrics] == names
    assert [line.split()[0] for line in as_table().splitlines()] == ["NAME", *names]
    assert metrics[1] == {
        "prometheusName": "aoss_executions_completed_total",
        "name": "aoss.executions.completed",
        "kind": "Counter",
        "unit": "{execution}",
        "description": "Executions that have ended, by how they ended; one for every execution started.",
        "labels": {
            "agent_type": ["general", "network", "database", "security"],
            "server_tag": [],
            "status": ["Success", "Failed", "Cancelled", "Interrupted"],
        },
    }


def test_the_pipelines_own_metrics_are_those_of_a_scrape() -> None:
    """A pipeline that has exported and was scraped shows the listed names, and no other of its own."""
    pipeline = Pipeline.start(TelemetrySettings(exporters=("prometheus", "console")))
    with redirect_stdout(StringIO()):
        pipeline.force_flush()
    asyncio.run(_scraped(pipeline))
    series = [(name, labels) for name, labels in scrape(pipeline) if name.startswith("otel_")]
    shown = {name for name, _ in series}
    pipeline.shutdown()
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert families == {metric.prometheus_name for metric in SELF_METRICS}
    for metric in SELF_METRICS:
        keys = {
            key for name, labels in series if name.startswith(metric.prometheus_name) for key, _ in labels
        }
        # A failed export alone carries error_type.
        assert keys - {"le"} == set(metric.labels) - {"error_type"}


async def _scraped(pipeline: Pipeline) -> None:
    transport = httpx.ASGITransport(app=pipeline.endpoint)
    async with httpx.AsyncClient(transport=transport, base_url="http://scrape") as client:
        assert (await client.get("/metrics")).status_code == 200
