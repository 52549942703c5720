"""Every state of the page in narrow and wide windows, dark and light: it fits, and axe finds nothing."""

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.support.console import overflow, violations
from tests.browser.support.work import ended, run, shown_execution, steps
from tests.support.backend import BackendProcess

LONG = "x" * 300
WIDTHS = (360, 900, 1280, 1920)


@pytest.fixture(scope="module")
def finished(backend: BackendProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an execution with all that is hard to lay out: a healing, long words, long lines, a failure."""
    folder: Path = tmp_path_factory.mktemp("there")
    plan: list[dict[str, Any]] = [
        {"command": f"mkdir {folder}", "description": f"A folder {LONG}", "changes": True},
        {"command": f"echo {LONG} {LONG}; seq 200"},
        {"command": "head -c 200000 /dev/zero | tr '\\0' y"},
        {"command": f"cat /nonexistent/{LONG}", "description": "No such file"},
        {"command": "echo never"},
    ]
    events = backend.execute(plan=plan, query=f"Everything at once {LONG}")
    assert events[-1]["final_status"] == "Failed"
    execution_id: str = events[0]["execution_id"]
    return execution_id


async def faults(page: Page, state: str) -> list[str]:
    """Return what is wrong with the page as it is now, in windows of every width."""
    found = [f"{state}: {line}" for line in await violations(page)]
    size = page.viewport_size
    assert size
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": size["height"]})
        if wider := await overflow(page):
            found.append(f"{state}: {wider} px too wide for {width} px")
    await page.set_viewport_size(size)
    return found


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
async def test_every_state_fits_and_is_accessible(
    open_page: OpenPage, finished: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """No state needs horizontal scrolling at any width, and axe finds no violation in any."""
    page = await open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    await expect(page.get_by_label("Server", exact=True)).to_have_text("localhost (this machine)")
    found = await faults(page, "ask")

    await page.get_by_role("button", name="Is this server healthy?").click()
    await page.get_by_role("button", name="Make a plan").click()
    await expect(page.get_by_role("heading", name="Plan")).to_be_focused()
    found += await faults(page, "plan")

    await page.get_by_role("button", name="Key", exact=True).click()
    found += await faults(page, "dialog")
    await page.keyboard.press("Escape")

    await page.goto(f"/?execution={finished}")
    await expect(page.get_by_role("heading", name="Report")).to_be_visible()
    await expect(page.locator("#steps > li").nth(3)).to_contain_text("failed")
    found += await faults(page, "finished")

    await page.get_by_role("link", name="History").click()
    await expect(page.locator("#history-list li").first).to_be_visible()
    found += await faults(page, "history")

    await page.get_by_role("link", name="Servers").click()
    await expect(page.get_by_role("button", name="Remove localhost")).to_be_visible()
    found += await faults(page, "servers")
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_running_is_accessible(
    open_page: OpenPage, backend: BackendProcess, scheme: Literal["light", "dark"]
) -> None:
    """The page of a running execution fits and is accessible, too, and so is that of a cancelled one."""
    page = await open_page(viewport={"width": 360, "height": 800}, color_scheme=scheme)
    await run(page, "echo one", "sleep 60", "echo three")
    await expect(steps(page).nth(1)).to_have_attribute("aria-current", "step")
    found = await faults(page, "running")
    assert backend.http.post(f"/api/executions/{shown_execution(page)}/cancel").status_code == 202
    await ended(page, "Cancelled")
    assert found + await faults(page, "cancelled") == []


async def test_scheme_follows_the_system(page: Page) -> None:
    """The colours change with the system's scheme, without a reload."""
    grounds = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        grounds.append(await page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2
