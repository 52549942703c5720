"""The reference page is what the catalogue says."""

import asyncio
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import httpx

from telemetry.catalogue import CATALOGUE
from telemetry.pipeline import Pipeline
from telemetry.reference import as_markdown
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


def test_the_pipelines_own_metrics_are_those_of_a_scrape() -> None:
    """A pipeline that has exported and was scraped shows the listed names, and no other of its own."""
    pipeline = Pipeline.start(TelemetrySettings(exporters=("prometheus", "console")))
    with redirect_stdout(StringIO()):
        pipeline.force_flush()
    asyncio.run(_scraped(pipeline))
    shown = {name for name, _ in scrape(pipeline) if name.startswith("otel_")}
    pipeline.shutdown()
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert families == {metric.prometheus_name for metric in SELF_METRICS}


async def _scraped(pipeline: Pipeline) -> None:
    transport = httpx.ASGITransport(app=pipeline.endpoint)
    async with httpx.AsyncClient(transport=transport, base_url="http://scrape") as client:
        assert (await client.get("/metrics")).status_code == 200
