"""The API key: asked for once, kept in the tab, refused in words, forgotten on demand."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import WORKERS, OpenPage
from tests.browser.support.console import Watch
from tests.browser.support.work import ended, run
from tests.support.backend import BackendProcess, running_backend

KEY = "a-key-of-a-test"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Return a backend that asks for a key."""
    folder = tmp_path_factory.mktemp("key") / "data"
    with running_backend(folder, WORKERS | {"AOSS_API_KEY": KEY}) as running:
        running.http.headers["Authorization"] = f"Bearer {KEY}"
        yield running


@pytest.fixture(autouse=True)
def refusals(watch: Watch) -> None:
    """Expect Chromium's own word on each refused call."""
    watch.allow("status of 401")


async def give(page: Page, key: str) -> None:
    """Type a key into the dialog."""
    await page.get_by_role("dialog").get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Use this key").click()


async def test_asked_once_and_kept_in_the_tab(open_page: OpenPage, watch: Watch) -> None:
    """A wrong key is said to be wrong; the right one works at once, after a reload and for streams."""
    page = await open_page()
    await give(page, "not-the-key")
    await expect(page.get_by_text("The backend refused this key.")).to_be_visible()
    await give(page, "schlüssel")
    await expect(page.get_by_text("A key has neither blanks nor accents.")).to_be_visible()
    await give(page, KEY)
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_label("Server", exact=True)).to_have_text("localhost (this machine)")
    await run(page, "echo with a key")
    await ended(page, "Success")
    await page.reload()
    await ended(page, "Success")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert all(KEY not in request.url for request in watch.requests)

    other = await page.context.new_page()
    await other.goto("/")
    await expect(other.get_by_role("dialog")).to_be_visible()


async def test_forgotten_on_demand(open_page: OpenPage) -> None:
    """After the key has been forgotten the tab asks for it again."""
    page = await open_page()
    await give(page, KEY)
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.get_by_role("button", name="Key", exact=True).click()
    await page.get_by_role("button", name="Forget the key").click()
    await expect(page.get_by_role("dialog").get_by_label("Key", exact=True)).to_be_focused()
    assert await page.evaluate("() => sessionStorage.length") == 0


async def test_who_declines_is_not_asked_again(open_page: OpenPage) -> None:
    """After 'Not now' the page says what is missing, and only the button asks again."""
    page = await open_page()
    await page.get_by_role("button", name="Not now").click()
    await expect(page.get_by_role("alert").filter(has_text="The backend asks for its key")).to_be_visible()
    await page.get_by_role("link", name="Servers").click()
    await expect(page.locator("#servers-problem")).to_contain_text("The backend asks for its key")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.get_by_role("button", name="Key", exact=True).click()
    await give(page, KEY)
    await expect(page.get_by_role("button", name="Remove localhost")).to_be_visible()
