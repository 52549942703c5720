"""What tests in the browser share: one Chromium, a backend with two workers, and pages that are watched."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from pytest_asyncio import is_async_test

from tests.browser.support.chromium import BrowserUnavailableError, running_browser
from tests.browser.support.console import Watch
from tests.support.backend import BackendProcess, running_backend

# What a test leaves running must not hold up the end.
WORKERS = {"AOSS_WORKERS": "2", "AOSS_DRAIN_SECONDS": "1"}
EXPECT_MILLISECONDS = 15_000

OpenPage = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in one event loop: the browser belongs to it."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Run one Chromium for all tests; they are skipped where there is none."""
    expect.set_options(timeout=EXPECT_MILLISECONDS)
    async with AsyncExitStack() as stack:
        try:
            running = await stack.enter_async_context(running_browser())
        except BrowserUnavailableError as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Return a backend with two workers, on which other tests run things, too.

    A file whose tests stop it, need a new one or other settings has a fixture `backend` of its own.
    """
    with running_backend(tmp_path_factory.mktemp("browser") / "data", WORKERS) as running:
        yield running


@pytest.fixture
def watch(backend: BackendProcess) -> Watch:
    """Return what watches this test's pages."""
    return Watch(backend.url)


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, watch: Watch) -> AsyncIterator[OpenPage]:
    """Open pages in contexts of their own, with Playwright's options for a context (`viewport`, …).

    At the end of the test no page may have logged an error, broken the policy or called another origin.
    """
    async with AsyncExitStack() as stack:

        async def opened(path: str = "/", **options: Any) -> Page:
            context = await stack.enter_async_context(
                await browser.new_context(base_url=watch.origin, **options)
            )
            await watch.attach(context)
            page = await context.new_page()
            await page.goto(path)
            return page

        yield opened
    assert watch.problems == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(open_page: OpenPage) -> Page:
    """Return the console, just opened in a window of 1280 by 800."""
    return await open_page(viewport={"width": 1280, "height": 800})
