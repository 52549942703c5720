"""An execution on the page: healing, cancelling, reloading, and what becomes of it when things break."""

import json
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.support.console import Watch
from tests.browser.support.work import (
    ended,
    kill_worker_of,
    outputs,
    run,
    shown_execution,
    states,
    status,
    steps,
    title,
    written,
)
from tests.support.backend import BackendProcess, wait_for
from tests.support.processes import new_marker, sleeping

# What Chromium itself logs when a worker's death breaks a connection.
BROKEN = r"net::ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|EMPTY_RESPONSE|CONNECTION_REFUSED)"


async def test_healing_is_seen(page: Page, backend: BackendProcess, tmp_path: Path) -> None:
    """A failed step shows its healing inside: the attempt, the recovery steps and that they helped."""
    execution_id = await run(page, f"mkdir {tmp_path}", "echo after", query="a folder")
    await ended(page, "Success")
    await expect(steps(page)).to_have_count(2)
    assert await states(steps(page)) == ["failed, then healed", "done"]
    healing = page.get_by_role("region", name="Healing, attempt 1")
    assert await states(healing.locator("xpath=..").locator(".healing")) == ["healed"]
    events = backend.events(execution_id)
    recovery = json.loads(next(event["stdout"] for event in events if event["type"] == "healing_plan"))
    await expect(healing.locator(".command")).to_have_text([step["command"] for step in recovery])
    assert await states(healing.locator(".steps > li")) == ["done"] * len(recovery)
    assert await outputs(steps(page)) == written(events)


async def test_healing_that_does_not_help(page: Page, backend: BackendProcess, tmp_path: Path) -> None:
    """Attempts that did not help are told from those that did, and the rest of the plan is not run."""
    (tmp_path / "file").touch()
    execution_id = await run(page, f"mkdir {tmp_path / 'file'}", "echo never", query="a file")
    await ended(page, "Failed")
    assert await states(steps(page)) == ["failed", "not run"]
    events = backend.events(execution_id)
    attempts = [event["success"] for event in events if event["type"] == "healing_result"]
    assert attempts == [False] * len(attempts) != []
    await expect(page.locator(".healing")).to_have_count(len(attempts))
    assert set(
        await states(page.locator(".step").filter(has=page.locator(".healing")).locator(".healing"))
    ) <= {
        "did not help",
        "no remedy is known",
    }
    assert await outputs(steps(page)) == written(events)


async def test_denied_command(page: Page) -> None:
    """A command that compliance denies is shown as denied, with the rule and the reason."""
    await run(page, "mkfs.ext4 /nonexistent/disk", query="denied")
    await ended(page, "Failed")
    await expect(steps(page).nth(0)).to_contain_text("failed · denied by compliance, not run")
    await expect(steps(page).nth(0).locator("pre.output")).to_contain_text("compliance rule make-filesystem")


async def test_reload_in_mid_execution(page: Page, backend: BackendProcess) -> None:
    """After a reload in mid-execution everything is there once, and the rest streams in."""
    await run(page, "echo one", "sleep 2; echo two", "echo three", query="reloaded")
    await expect(steps(page).nth(1)).to_have_attribute("aria-current", "step")
    await page.reload()
    await expect(steps(page).nth(1)).to_have_attribute("aria-current", "step")
    assert await states(steps(page)) == ["done", "running", "waiting"]
    assert await outputs(steps(page)) == ["one\n"]
    await ended(page, "Success")
    assert await outputs(steps(page)) == ["one\n", "two\n", "three\n"]


async def test_cancel(page: Page, backend: BackendProcess) -> None:
    """Cancel ends the command, and the page says that it was cancelled and what was not run."""
    marker = new_marker()
    execution_id = await run(page, f"sleep {marker}", "echo never")
    wait_for(lambda: sleeping(marker) == 1)
    await page.get_by_role("button", name="Cancel").click()
    await ended(page, "Cancelled")
    assert (await states(steps(page)))[1] == "not run"
    await expect(page.get_by_text("Someone cancelled it.")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert sleeping(marker) == 0
    wait_for(lambda: backend.status(execution_id) == "Cancelled")


async def test_killed_worker(page: Page, backend: BackendProcess, watch: Watch) -> None:
    """When the worker is killed in mid-execution the page says what the backend says: Interrupted."""
    watch.allow(BROKEN)
    marker = new_marker()
    execution_id = await run(page, "echo kept", f"sleep {marker}", "echo never", query="to be killed")
    wait_for(lambda: sleeping(marker) == 1)
    kill_worker_of(backend, marker)
    await ended(page, "Interrupted")
    assert backend.status(execution_id) == "Interrupted"
    assert await states(steps(page)) == ["done", "no result", "not run"]
    assert await outputs(steps(page)) == ["kept\n"]
    await expect(page.get_by_text("The worker that ran it died or was shut down.")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    await expect(page.locator("#banner")).to_have_text("")


async def test_back_and_forward(page: Page) -> None:
    """Back and forward move between the request and its execution, and both are still there."""
    execution_id = await run(page, "echo one", "sleep 1", query="wandering")
    await page.go_back()
    await expect(title(page)).to_have_text("What should be done?")
    await expect(page.get_by_role("textbox", name="Command of step 1")).to_have_value("echo one")
    await page.go_forward()
    await ended(page, "Success")
    assert shown_execution(page) == execution_id
    assert await outputs(steps(page)) == ["one\n"]


async def test_unknown_execution(open_page: OpenPage, watch: Watch) -> None:
    """An execution that is not there is said to be unknown, not shown as running."""
    watch.allow("status of 404")
    page = await open_page(f"/?execution={'0' * 32}")
    await expect(page.get_by_role("alert").filter(has_text="there is no execution")).to_be_visible()
    await expect(status(page)).to_have_count(0)
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
