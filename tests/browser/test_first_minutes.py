"""What a newcomer does in the first five minutes, and what the page promises at first sight."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import WORKERS
from tests.browser.support.console import Watch
from tests.browser.support.work import ended, outputs, shown_execution, states, steps, title, written
from tests.support.backend import BackendProcess, running_backend


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Return a backend on which nothing has been run yet."""
    with running_backend(tmp_path_factory.mktemp("first") / "data", WORKERS) as running:
        yield running


async def test_first_five_minutes(page: Page, backend: BackendProcess, watch: Watch) -> None:
    """A newcomer opens the page, takes an example, edits its plan, runs it and finds it in the history."""
    await expect(page).to_have_title("Ask · AOSS")
    await expect(page.get_by_label("Server", exact=True)).to_have_text("localhost (this machine)")
    await page.get_by_role("link", name="History").click()
    await expect(page.get_by_text("Nothing has been run yet.")).to_be_visible()
    await page.get_by_role("link", name="Ask").click()

    await page.get_by_role("button", name="Test connection").click()
    await expect(page.get_by_text("Online: localhost answers and runs commands")).to_be_visible()

    await page.get_by_role("button", name="Is this server healthy?").click()
    await page.get_by_role("button", name="Make a plan").click()
    await expect(page.get_by_role("heading", name="Plan")).to_be_focused()
    planned = backend.plan("Is this server healthy?")
    items = page.get_by_role("list").locator(".plan-step")
    await expect(items).to_have_count(len(planned))
    await expect(page.get_by_role("textbox", name="Command of step 2")).to_have_value(
        planned[1]["command"].rstrip()
    )

    await page.get_by_role("button", name="Remove step 1").click()
    await page.get_by_role("textbox", name="Command of step 1").fill("echo edited; sleep 1")
    await page.get_by_role("textbox", name="Description of step 1").fill("My own step")
    await page.get_by_role("button", name=f"Run {len(planned) - 1} steps on localhost").click()

    await expect(steps(page).nth(0)).to_contain_text("Step 1: My own step")
    await expect(steps(page).nth(0)).to_have_attribute("aria-current", "step")
    assert (await states(steps(page)))[1] == "waiting"
    await expect(steps(page).nth(0).locator("pre.output")).to_have_text("edited\n")
    await ended(page, "Success")
    execution_id = shown_execution(page)
    events = backend.events(execution_id)
    assert await outputs(steps(page)) == written(events)
    assert set(await states(steps(page))) == {"done"}
    report = next(event["content"] for event in events if event["type"] == "agent_summary")
    assert await page.locator("#report-text").text_content() == report

    await page.get_by_role("link", name="History").click()
    await page.get_by_role("link", name="Is this server healthy?").click()
    await expect(page.get_by_role("heading", name="Report")).to_be_visible()
    assert shown_execution(page) == execution_id
    assert await outputs(steps(page)) == written(events)
    await page.go_back()
    await expect(title(page)).to_have_text("History")
    await expect(page).to_have_title("History · AOSS")

    origins = {request.url.split("/", 3)[2] for request in watch.requests if request.url.startswith("http")}
    assert origins == {f"127.0.0.1:{backend.port}"}


async def test_examples_have_plans(page: Page, backend: BackendProcess) -> None:
    """The built-in planner answers each example under the persona that shows it."""
    personas: list[dict[str, Any]] = await page.evaluate(
        "async () => (await import('/console/personas.js')).PERSONAS"
    )
    assert [persona["id"] for persona in personas] == ["general", "network", "database", "security"]
    plans = [backend.plan(example, persona["id"]) for persona in personas for example in persona["examples"]]
    assert len(plans) == 12
    assert not any(step["changes"] for plan in plans for step in plan), "an example only looks"
    await page.get_by_role("radio", name="network").check()
    await expect(page.get_by_role("list", name="Examples").get_by_role("button")).to_have_text(
        personas[1]["examples"]
    )


async def test_refused_request(page: Page, watch: Watch) -> None:
    """What the planner says of a request that it cannot answer is shown, and steps can be written instead."""
    watch.allow("status of 422")
    await page.get_by_role("textbox", name="Request").fill("Sing a song")
    await page.get_by_role("button", name="Make a plan").click()
    await expect(
        page.get_by_role("alert").filter(has_text="No runbook of the general persona")
    ).to_be_visible()
    await page.get_by_role("button", name="Write the steps myself").click()
    await expect(page.get_by_role("textbox", name="Command of step 1")).to_have_value("")
    await page.get_by_role("button", name="Run 1 step on localhost").click()
    await expect(page.get_by_text("Step 1 has no command.")).to_be_visible()
    await expect(page.get_by_role("textbox", name="Command of step 1")).to_be_focused()


async def test_quicker_than_the_first_answer(page: Page) -> None:
    """Who asks before the servers are known gets the plan all the same."""

    async def late(route: Route) -> None:
        await asyncio.sleep(1)
        await route.continue_()

    await page.route("**/api/servers?*", late)
    await page.reload()
    await page.get_by_role("button", name="Is this server healthy?").click()
    await page.get_by_role("button", name="Make a plan").click()
    await expect(page.get_by_role("button", name="Run 5 steps on localhost")).to_be_visible()


async def test_changing_steps_are_marked(page: Page, backend: BackendProcess) -> None:
    """A step that alters the server is marked in the plan and in the execution."""
    await page.get_by_role("textbox", name="Request").fill("clean the apt cache")
    await page.get_by_role("button", name="Make a plan").click()
    await expect(page.locator("#plan-for")).to_contain_text("1 step marked as changing the server.")
    marks = await page.get_by_role("checkbox", name="changes the server").all()
    planned = [step["changes"] for step in backend.plan("clean the apt cache")]
    assert [await mark.is_checked() for mark in marks] == planned

    for number in range(len(planned), 1, -1):
        await page.get_by_role("button", name=f"Remove step {number}").click()
    await page.get_by_role("textbox", name="Command of step 1").fill("true")
    await page.get_by_role("checkbox", name="changes the server").check()
    await page.get_by_role("button", name="Run 1 step").click()
    await ended(page, "Success")
    await expect(steps(page).nth(0).locator(".badge")).to_have_text("changes the server")


async def test_steps_are_moved_and_added(page: Page, backend: BackendProcess) -> None:
    """Steps run in the order that the editor shows after moving, adding and removing."""
    await page.get_by_role("textbox", name="Request").fill("order")
    await page.get_by_role("button", name="Write the steps myself").click()
    for number, word in enumerate(("one", "two", "three"), start=1):
        if number > 1:
            await page.get_by_role("button", name="Add a step").click()
        await page.get_by_role("textbox", name=f"Command of step {number}").fill(f"echo {word}")
    await page.get_by_role("button", name="Move up step 3").click()
    await expect(page.get_by_role("button", name="Move up step 2")).to_be_focused()
    await page.get_by_role("button", name="Move up step 2").click()
    await expect(page.get_by_role("button", name="Move down step 1")).to_be_focused()
    await page.get_by_role("button", name="Remove step 2").click()
    await page.get_by_role("button", name="Run 2 steps").click()
    await ended(page, "Success")
    assert await outputs(steps(page)) == ["three\n", "two\n"]
    plan = backend.http.get(f"/api/executions/{shown_execution(page)}").json()["plan"]
    assert [step["command"] for step in plan] == ["echo three", "echo two"]

    await page.get_by_role("button", name="Edit and run again").click()
    await expect(page.get_by_role("textbox", name="Command of step 2")).to_have_value("echo two")
    await expect(page.get_by_role("textbox", name="Request")).to_have_value("order")
