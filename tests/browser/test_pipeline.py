"""The right side of the console: its numbers are those of /metrics, and outlive reloads and workers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import WORKERS
from tests.browser.support.console import Watch
from tests.browser.support.pipeline import CHARTS, QUERIES, chart, rows, totals, work
from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.stack.prometheus import PrometheusServer, running_prometheus

# What each chart's table says where its queries have these answers.
SHOWN = """async (answers) => {
  const { Chart } = await import("/console/chart.js");
  const { CHARTS } = await import("/console/charts.js");
  const shown = {};
  for (const definition of CHARTS) {
    const queries = definition.queries.map((query) => ({ ...query, at: () => answers[query.promql] }));
    const chart = new Chart({ ...definition, queries });
    chart.add(null, 1);
    chart.draw();
    const rows = [...chart.root.querySelectorAll("tbody tr")];
    const texts = rows.map((row) => [...row.children].slice(0, 2).map(({ innerText }) => innerText.trim()));
    shown[definition.title] = Object.fromEntries(texts);
  }
  return shown;
}"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[BackendProcess]:
    """Return a backend of two workers for one test."""
    with running_backend(tmp_path / "data", WORKERS | {"AOSS_METRICS_CREATED_TIMESTAMPS": "true"}) as running:
        yield running


@pytest.fixture
def prometheus(backend: BackendProcess, tmp_path: Path) -> Iterator[PrometheusServer]:
    """Return a Prometheus that scrapes the backend."""
    config = tmp_path / "prometheus.yml"
    target = f"{{job_name: aoss, static_configs: [{{targets: ['127.0.0.1:{backend.port}']}}]}}"
    config.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{target}]\n")
    with running_prometheus(config, tmp_path / "prometheus") as running:
        yield running


async def test_numbers_are_those_of_metrics(
    page: Page, backend: BackendProcess, prometheus: PrometheusServer, tmp_path: Path
) -> None:
    """Totals are what /metrics shows at that moment, and charts what Prometheus answers to their queries."""
    state = page.locator("#pipeline-state")
    await expect(state).to_contain_text("Nothing has run yet")
    work(backend, tmp_path)
    shown = page.locator(".totals dd")
    await expect(shown.nth(0)).to_have_text("3")
    await expect(shown.nth(1)).to_have_text("0")
    await expect(shown.nth(2)).to_have_text("2 of 3")

    def ended(*statuses: str) -> int:
        return int(sum(backend.total("aoss_executions_completed_total", status=each) for each in statuses))

    healed = int(backend.total("aoss_self_healing_attempts_total", success="true"))
    attempts = int(backend.total("aoss_self_healing_attempts_total"))
    assert attempts > 0
    assert await totals(page) == {
        "Executions": f"{backend.total('aoss_executions_total'):.0f}",
        "Active": f"{backend.total('aoss_active_executions'):.0f}",
        "Succeeded": f"{ended('Success')} of {ended('Success', 'Failed', 'Interrupted')}",
        "Errors": f"{backend.total('aoss_execution_errors_total'):.0f}",
        "Healed": f"{healed} of {attempts}",
    }
    for title in CHARTS:
        await expect(chart(page, title).get_by_role("table")).to_be_visible()
    answers = answered(prometheus, await page.evaluate(QUERIES))
    expected = await page.evaluate(SHOWN, answers)
    assert {title: len(values) for title, values in expected.items() if title in CHARTS} == {
        "Executions": 3,
        "Success rate": 1,
        "Execution duration": 3,
        "Errors": 1,
        "Healing attempts": 2,
        "Healing success": 2,
    }
    assert {title: await latest(page, title) for title in CHARTS} == {
        title: values for title, values in expected.items() if title in CHARTS
    }


def answered(prometheus: PrometheusServer, queries: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the vector of each query at the last scrape, once that has all executions."""
    ended = "sum(aoss_executions_completed_total)"
    wait_for(lambda: [each.value for each in prometheus.query(ended)] == [3])
    (last,) = prometheus.query("max(timestamp(aoss_executions_completed_total))")
    return {
        query: [
            {"labels": sample.labels, "value": sample.value} for sample in prometheus.query(query, last.value)
        ]
        for query in queries
    }


async def latest(page: Page, title: str) -> dict[str, str]:
    """Return a chart's latest values by series, as they are shown."""
    return {name: now for name, (now, _) in (await rows(page, title)).items()}


async def test_charts_outlive_a_reload_and_the_sampling_worker(
    page: Page, watch: Watch, backend: BackendProcess, tmp_path: Path
) -> None:
    """After a reload, and after the death of the worker that samples, the charts show what they had shown."""
    watch.allow("net::ERR_")
    work(backend, tmp_path)
    await expect(chart(page, "Healing success").get_by_role("table")).to_be_visible()
    before = {title: await rows(page, title) for title in CHARTS}

    def highest(shown: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, str]]:
        return {title: {name: values[1] for name, values in each.items()} for title, each in shown.items()}

    samplers = [
        child
        for child in psutil.Process(backend.process.pid).children()
        if any(file.path.endswith("console.lock") for file in child.open_files())
    ]
    assert len(samplers) == 1
    os.kill(samplers[0].pid, signal.SIGKILL)
    seen = await page.locator("#pipeline-state").inner_text()
    await page.reload()
    await expect(chart(page, "Healing success").get_by_role("table")).to_be_visible()
    await expect(page.locator("#pipeline-state")).not_to_have_text(seen, timeout=30_000)
    after = {title: await rows(page, title) for title in CHARTS}
    assert {title: set(each) for title, each in after.items()} == {
        title: set(each) for title, each in before.items()
    }
    shown_before, shown_after = highest(before), highest(after)
    for title in ("Executions", "Errors", "Healing attempts"):
        for name, value in shown_before[title].items():
            assert float(shown_after[title][name]) >= float(value), (title, name)
