"""The whole left side without a pointer."""

from playwright.async_api import Page, expect

from tests.browser.support.work import ended, outputs, steps, title

# The name that assistive technology would say, near enough for what is focused here.
FOCUSED = """() => {
  const it = document.activeElement;
  return it.getAttribute("aria-label") ?? it.labels?.[0]?.innerText ?? it.textContent;
}"""


async def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Press Tab until the element with this name has the focus."""
    seen = []
    for _ in range(80):
        await page.keyboard.press(key)
        focused = str(await page.evaluate(FOCUSED)).strip()
        if focused.startswith(name):
            return
        seen.append(focused[:30])
    raise AssertionError(f"{name!r} is not reached by {key}: {seen}")


async def test_everything_by_keyboard(page: Page) -> None:
    """Asking, choosing, editing, running, cancelling and looking back need no pointer."""
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#work")).to_be_focused()

    await tab_to(page, "general")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("radio", name="network")).to_be_checked()
    await tab_to(page, "Request")
    await page.keyboard.type("Which ports are open?")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Plan")).to_be_focused()

    await tab_to(page, "Remove step 1")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Remove step 1")).to_be_focused()
    count = await page.locator(".plan-step").count()
    for _ in range(count - 1):
        await page.keyboard.press("Enter")
    await expect(page.locator(".plan-step")).to_have_count(1)
    await tab_to(page, "Command of step 1", "Shift+Tab")
    await page.keyboard.press("Control+A")
    await page.keyboard.type("echo typed")
    await tab_to(page, "Add a step")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("textbox", name="Command of step 2")).to_be_focused()
    await page.keyboard.type("sleep 60")
    await tab_to(page, "Run 2 steps")
    await page.keyboard.press("Enter")

    await expect(title(page)).to_be_focused()
    await expect(steps(page).nth(1)).to_have_attribute("aria-current", "step")
    await tab_to(page, "Cancel")
    await page.keyboard.press("Space")
    await ended(page, "Cancelled")
    await expect(title(page)).to_be_focused()
    assert (await outputs(steps(page)))[0] == "typed\n"
    await tab_to(page, "stdout of the command")

    await tab_to(page, "History", "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(title(page)).to_be_focused()
    await tab_to(page, "Which ports are open?")
    await page.keyboard.press("Enter")
    await ended(page, "Cancelled")


async def test_dialog_gives_the_focus_back(page: Page) -> None:
    """Escape closes the dialog for the key, and the focus returns to the button that opened it."""
    await tab_to(page, "Key")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_label("Key", exact=True)).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="Key", exact=True)).to_be_focused()


async def test_tabs_follow_the_arrow_keys(page: Page) -> None:
    """In a narrow window Work and Pipeline are tabs that the arrow keys change."""
    await expect(page.get_by_role("tablist")).to_be_hidden()
    await page.set_viewport_size({"width": 800, "height": 800})
    work, pipeline = page.locator("#work"), page.locator("#pipeline")
    await expect(work).to_be_visible()
    await expect(pipeline).to_be_hidden()
    await tab_to(page, "Work")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Pipeline")).to_be_focused()
    await expect(work).to_be_hidden()
    await expect(pipeline).to_be_visible()
    await page.keyboard.press("Home")
    await expect(work).to_be_visible()
    await page.set_viewport_size({"width": 1280, "height": 800})
    await expect(pipeline).to_be_visible()
