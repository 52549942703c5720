"""The charts themselves: away and back, the query to copy, narrow and wide, dark and light."""

import re
from typing import Literal

import pytest
from playwright.async_api import Page, Response, expect

from tests.browser.conftest import OpenPage
from tests.browser.support.console import Watch, overflow, violations
from tests.browser.support.pipeline import CHARTS, chart, totals, work
from tests.support.backend import BackendProcess

SAMPLES = "/api/console/samples"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

SET_STATE = """(state) => {
  Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
# The totals are written anew each time that the charts are drawn.
COUNT_DRAWS = """() => {
  globalThis.draws = 0;
  const count = () => { globalThis.draws += 1; };
  new MutationObserver(count).observe(document.querySelector(".totals"), { childList: true });
}"""
# For each chart the colours of its legend, and how many pixels of its plot have one of them.
LINES = """(charts) => charts.map((chart) => {
  const numbers = (colour) => colour.match(/\\d+/g).map(Number);
  const swatches = [...chart.querySelectorAll(".swatch")];
  const colours = swatches.map((swatch) => numbers(getComputedStyle(swatch).backgroundColor));
  const canvas = chart.querySelector("canvas");
  // A copy of its own: Chromium warns of a canvas that is read again and again.
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    // Lines are smoothed: what is nearly opaque has nearly the colour.
    const near = (colour) => colour.every((part, place) => Math.abs(data[at + place] - part) < 16);
    if (data[at + 3] > 200 && colours.some(near)) count += 1;
  }
  return [colours, count];
})"""


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


async def test_hidden_page_rests(open_page: OpenPage, watch: Watch) -> None:
    """A hidden page asks for nothing; a shown one asks at once, and draws once an answer with samples."""
    page = await open_page()
    await page.clock.install()
    await page.reload()
    await expect(chart(page, "Executions").get_by_role("table")).to_be_visible()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if SAMPLES in answer.url else None)

    def asked() -> int:
        return sum(SAMPLES in request.url for request in watch.requests)

    await page.evaluate(SET_STATE, "hidden")
    before = asked()
    # Longer than between two samples, and too short for a call to time out.
    await page.clock.run_for(6000)
    assert asked() == before
    await page.evaluate(COUNT_DRAWS)
    await page.evaluate(SET_STATE, "visible")
    for _ in range(20):
        await page.clock.run_for(1000)
    assert asked() - before > 3
    await page.evaluate(SET_STATE, "hidden")
    await page.wait_for_load_state("networkidle")
    with_samples = [answer for answer in answers if (await answer.json())["samples"]]
    assert await page.evaluate("draws") == len(with_samples)


async def test_lines_have_the_colours_of_the_legend(page: Page) -> None:
    """Every chart has lines in the colours of its legend, and in the other scheme's once that is chosen."""
    drawn = page.get_by_role("figure").filter(has=page.locator("canvas"))
    for title in CHARTS:
        await expect(chart(page, title).locator("canvas")).to_have_count(1)
    seen = []
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        for _ in range(50):
            found = await drawn.evaluate_all(LINES)
            if min(pixels for _, pixels in found) > 0:
                break
            # The page draws anew when it has learnt of the other scheme.
            await page.wait_for_timeout(100)
        else:
            pytest.fail(f"{scheme}: {found}")
        seen.append(found[0][0])
    assert seen[0] != seen[1]


async def test_pointing_tells_the_values_of_a_moment(page: Page) -> None:
    """While one points at a moment, every chart's table has the values of then, and nothing moves."""
    shown = chart(page, "Errors")
    table = shown.get_by_role("table")
    await expect(table.get_by_role("columnheader", name="now")).to_be_visible()
    await shown.scroll_into_view_if_needed()
    # No new sample meanwhile.
    await page.evaluate(SET_STATE, "hidden")

    async def place() -> tuple[float, ...]:
        # In its figure: a chart above may get a line more meanwhile.
        box, figure = await table.bounding_box(), await shown.bounding_box()
        assert box is not None
        assert figure is not None
        return box["x"], box["y"] - figure["y"], box["width"], box["height"]

    before = await place()
    plot = await shown.locator(".plot").bounding_box()
    assert plot is not None
    await page.mouse.move(plot["x"] + plot["width"] * 0.5, plot["y"] + plot["height"] / 2)
    for title in ("Executions", "Errors"):
        await expect(chart(page, title).get_by_role("columnheader", name="then")).to_be_visible()
        await expect(chart(page, title).locator("figcaption .hint")).to_have_text(re.compile(r"\d:\d\d:\d\d"))
    sampled = page.locator("#pipeline-state")
    await page.evaluate(SET_STATE, "visible")
    await expect(sampled).not_to_have_text(await sampled.inner_text())
    await expect(table.get_by_role("columnheader", name="then")).to_be_visible()
    assert await place() == before
    await page.evaluate(SET_STATE, "hidden")
    await page.mouse.move(0, 0)
    await expect(table.get_by_role("columnheader", name="now")).to_be_visible()
    await expect(shown.locator("figcaption .hint")).to_have_text("per minute")


@pytest.mark.parametrize("scheme", SCHEMES)
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
        plots = [await chart(page, title).locator("canvas").bounding_box() for title in CHARTS]
        assert [plot is not None and plot["width"] > 150 for plot in plots] == [True] * len(CHARTS)
    assert found == []
