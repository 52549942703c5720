"""What the right side of the console shows."""

from pathlib import Path

from playwright.async_api import Locator, Page

from tests.support.backend import BackendProcess

# Without Active: what ends between two samples is never seen to be active.
CHARTS = (
    "Executions",
    "Success rate",
    "Execution duration",
    "Errors",
    "Healing attempts",
    "Healing success",
)

# In the page: the PromQL of every chart.
QUERIES = """async () => {
  const { CHARTS } = await import("/console/charts.js");
  return CHARTS.flatMap(({ queries }) => queries.map(({ promql }) => promql));
}"""


def work(backend: BackendProcess, folder: Path) -> None:
    """Execute what moves every chart: successes, a failure, a healing that helps and one that does not."""
    backend.execute("true", "sleep 0.2")
    backend.execute(f"mkdir {folder}/there", f"mkdir {folder}/there", agent_type="network")
    backend.execute("cat /nonexistent", agent_type="security")


def chart(page: Page, title: str) -> Locator:
    """Return a chart."""
    return page.get_by_role("figure").filter(has=page.get_by_role("heading", name=title, exact=True))


async def rows(page: Page, title: str) -> dict[str, list[str]]:
    """Return a chart's values by series: now, and the highest."""
    return {
        (await row.get_by_role("rowheader").inner_text()).strip(): await row.get_by_role(
            "cell"
        ).all_inner_texts()
        for row in await chart(page, title).locator("tbody tr").all()
    }


async def totals(page: Page) -> dict[str, str]:
    """Return the totals as they are shown."""
    found = page.locator(".totals > div")
    return dict([(await each.inner_text()).split("\n") for each in await found.all()])
