"""The charts themselves: away and back, the query to copy, narrow and wide, dark and light."""

from typing import Literal

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.support.console import Watch, overflow, violations
from tests.browser.support.pipeline import CHARTS, chart, totals, work
from tests.support.backend import BackendProcess


@pytest.fixture(scope="module", autouse=True)
def worked(backend: BackendProcess, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have something to show."""
    work(backend, tmp_path_factory.mktemp("worked"))


async def test_away_and_back(open_page: OpenPage, watch: Watch) -> None:
    """The charts say of what moment they are while the backend is away, and go on when it is back."""
    watch.allow("net::ERR_")
    page = await open_page()
    await expect(chart(page, "Executions").get_by_role("table")).to_be_visible()
    state = page.locator("#pipeline-state")
    await page.context.set_offline(True)
    await expect(state).to_contain_text("The backend does not answer: the last sample is of")
    await page.context.set_offline(False)
    await expect(state).to_contain_text("sampled at")
    assert (await totals(page))["Executions"] == "3"


async def test_query_is_copied(open_page: OpenPage, watch: Watch) -> None:
    """A chart's query goes to the clipboard, or is selected where the page may not use it."""
    page = await open_page(permissions=["clipboard-read", "clipboard-write"])
    shown_chart = chart(page, "Success rate")
    await shown_chart.get_by_text("PromQL", exact=True).click()
    shown = await shown_chart.locator("code").inner_text()
    await shown_chart.get_by_role("button", name="Copy").click()
    await expect(shown_chart.get_by_role("status")).to_have_text("Copied.")
    assert await page.evaluate("navigator.clipboard.readText()") == shown
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await shown_chart.get_by_role("button", name="Copy").click()
    await expect(shown_chart.get_by_role("status")).to_contain_text("Selected")
    assert await page.evaluate("getSelection().toString().trim()") == shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_fits_and_is_accessible(open_page: OpenPage, scheme: Literal["light", "dark"]) -> None:
    """In narrow and wide windows the charts fit, and axe finds nothing, with the queries open."""
    found = []
    for width in (360, 1920):
        page = await open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        if width == 360:
            await page.get_by_role("tab", name="Pipeline").click()
        await expect(chart(page, "Healing success").get_by_role("table")).to_be_visible()
        for summary in await page.get_by_text("PromQL", exact=True).all():
            await summary.click()
        found += [f"{width}: {line}" for line in await violations(page)]
        found += [f"{width}: {wider} px too wide"] if (wider := await overflow(page)) else []
        for title in CHARTS:
            shown = chart(page, title).locator("canvas")
            assert await shown.evaluate("canvas => canvas.clientWidth > 150"), title
    assert found == []
