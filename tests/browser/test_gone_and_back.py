"""Connections that break, a backend that goes and comes back: nothing is lost, shown twice or made up."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import WORKERS, OpenPage
from tests.browser.support.console import Watch
from tests.browser.support.proxy import Proxy, running_proxy
from tests.browser.support.work import ended, outputs, run, shown_execution, states, status, steps, written
from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.processes import new_marker, sleeping

# What Chromium itself logs of connections that fail.
FAILED = r"net::ERR_"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return the data directory of the backends of one test."""
    return tmp_path / "data"


@pytest.fixture
def backend(data_dir: Path) -> Iterator[BackendProcess]:
    """Return a backend that the test may kill."""
    with running_backend(data_dir, WORKERS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(backend: BackendProcess) -> AsyncIterator[Proxy]:
    """Return the way to the backend."""
    async with running_proxy(backend.port) as running:
        yield running


@pytest.fixture
def watch(proxy: Proxy) -> Watch:
    """Return what watches pages that reach the backend through the proxy."""
    watch = Watch(proxy.url)
    watch.allow(FAILED)
    return watch


async def test_broken_streams_are_attached_to_again(
    open_page: OpenPage, backend: BackendProcess, proxy: Proxy
) -> None:
    """A stream that breaks again and again shows every event once, in order, to the end."""
    page = await open_page()
    commands = [f"echo {number}; sleep 0.4" for number in range(8)]
    await run(page, *commands)
    for number in range(0, 8, 2):
        await expect(steps(page).nth(number).locator("pre.output")).to_have_count(1)
        assert proxy.cut() > 0
    await ended(page, "Success")
    events = backend.events(shown_execution(page))
    assert await outputs(steps(page)) == written(events) == [f"{number}\n" for number in range(8)]
    assert set(await states(steps(page))) == {"done"}


async def test_backend_gone_and_back(
    open_page: OpenPage, backend: BackendProcess, proxy: Proxy, data_dir: Path
) -> None:
    """The page says that the whole backend died, then that it is back and what became of the execution."""
    marker = new_marker()
    page = await open_page()
    execution_id = await run(page, "echo kept", f"sleep {marker}")
    wait_for(lambda: sleeping(marker) == 1)
    await expect(steps(page).nth(0).locator("pre.output")).to_have_text("kept\n")
    os.killpg(backend.process.pid, signal.SIGKILL)
    backend.process.wait(timeout=10)
    await expect(page.locator("#banner")).to_contain_text("The backend does not answer.")
    await expect(page.locator("#connection")).to_have_text("Not connected")
    await expect(page.locator("#stream-state")).to_contain_text("The stream broke off.")
    assert sleeping(marker) == 0

    with running_backend(data_dir, WORKERS) as again:
        proxy.target = again.port
        await expect(page.locator("#banner")).to_have_text("The backend is back.")
        await expect(page.locator("#connection")).to_have_text("Connected")
        await ended(page, "Interrupted")
        assert await outputs(steps(page)) == ["kept\n"]
        assert await states(steps(page)) == ["done", "no result"]
        assert again.status(execution_id) == "Interrupted"


async def test_backend_away_when_something_is_asked(
    open_page: OpenPage, backend: BackendProcess, proxy: Proxy
) -> None:
    """A run that nobody answered is said to be in doubt, nothing pretends, and views fill once it is back."""
    page = await open_page()
    await expect(page.get_by_label("Server", exact=True)).to_have_text("localhost (this machine)")
    events = backend.execute("echo one", query="done before")
    await page.get_by_role("textbox", name="Request").fill("in doubt")
    await page.get_by_role("button", name="Write the steps myself").click()
    await page.get_by_role("textbox", name="Command of step 1").fill("echo two")
    proxy.target = 1
    proxy.cut()
    await page.get_by_role("button", name="Run 1 step").click()
    await expect(page.locator("#plan-problem")).to_contain_text("Whether the plan was started is not known")
    await expect(page.locator("#banner")).to_contain_text("The backend does not answer.")
    await page.evaluate(
        "(id) => { history.pushState(null, '', `/?execution=${id}`); dispatchEvent(new Event('popstate')) }",
        events[0]["execution_id"],
    )
    await expect(page.locator("#execution-problem")).to_contain_text("The backend does not answer.")
    await expect(status(page)).to_have_count(0)
    proxy.target = backend.port
    await ended(page, "Success")
    assert await outputs(steps(page)) == ["one\n"]
