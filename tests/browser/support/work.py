"""What a person does on the left side of the console."""

import os
import signal
from collections.abc import Sequence
from typing import Any

import psutil
from playwright.async_api import Locator, Page, expect

from tests.support.backend import BackendProcess
from tests.support.processes import marked


async def write_plan(page: Page, *commands: str, query: str = "a test") -> None:
    """Write a plan step by step."""
    await page.get_by_role("textbox", name="Request").fill(query)
    await page.get_by_role("button", name="Write the steps myself").click()
    for number, command in enumerate(commands, start=1):
        if number > 1:
            await page.get_by_role("button", name="Add a step").click()
        await page.get_by_role("textbox", name=f"Command of step {number}", exact=True).fill(command)


async def run(page: Page, *commands: str, query: str = "a test") -> str:
    """Write a plan, run it, and return the execution's id as the address shows it."""
    await write_plan(page, *commands, query=query)
    await page.get_by_role("button", name="Run ").click()
    await expect(title(page).filter(has_text=query)).to_be_visible()
    return shown_execution(page)


def shown_execution(page: Page) -> str:
    """Return the id of the execution that the address names."""
    _, _, execution_id = page.url.partition("?execution=")
    assert len(execution_id) == 32, page.url
    return execution_id


def title(page: Page) -> Locator:
    """Return the heading of what the left side shows."""
    return page.locator("#work").get_by_role("heading", level=1)


def steps(page: Page) -> Locator:
    """Return the steps of the plan, without those of healings."""
    return page.locator("#steps > li")


def status(page: Page) -> Locator:
    """Return the status of the execution."""
    return page.locator("#execution-facts .badge")


async def ended(page: Page, wanted: str) -> None:
    """Wait until the execution has this status."""
    await expect(status(page)).to_have_text(wanted)


async def states(items: Locator) -> list[str]:
    """Return the state that each step shows, without its duration."""
    texts = await items.locator(":scope > .step-head .step-state").all_inner_texts()
    return [text.split(" · ")[0] for text in texts]


async def outputs(items: Locator) -> list[str]:
    """Return what is shown of each stream, in order."""
    return await items.locator("pre.output").all_text_contents()


def written(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the events say was written, in the order in which the console shows it."""
    results = [event["result"] for event in events if event["type"] == "step_result"]
    return [result[stream] for result in results for stream in ("stdout", "stderr") if result[stream]]


def kill_worker_of(backend: BackendProcess, marker: str) -> None:
    """Kill the worker, as the kernel would, whose command carries the marker in its arguments."""
    workers = {child.pid for child in psutil.Process(backend.process.pid).children()}
    owners = {
        parent.pid
        for process in marked(marker)
        for parent in psutil.Process(process).parents()
        if parent.pid in workers
    }
    assert len(owners) == 1, owners
    os.kill(owners.pop(), signal.SIGKILL)
