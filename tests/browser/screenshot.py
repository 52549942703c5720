"""The README's picture of the console: `python -m tests.browser.screenshot` writes docs/pictures/console.png.

It shows the demo on a backend of two workers, and an execution with a healing. Its numbers are other ones at
every run: it is taken anew when the console looks different.
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from tests.browser.support.chromium import running_browser
from tests.browser.support.console import Watch
from tests.browser.support.work import ended
from tests.support.backend import BackendProcess, running_backend

PATH = Path(__file__).parents[2] / "docs" / "pictures" / "console.png"
EXECUTIONS = 240
SIZE = {"width": 1440, "height": 900}

PLAN: list[dict[str, Any]] = [
    {"command": "uptime", "description": "How long it has been up"},
    {"command": "mkdir /tmp", "description": "A folder for the report", "changes": True},
    {"command": "df -h / | tail -n 1", "description": "Free space"},
]


def main() -> None:
    """Take the picture."""
    asyncio.run(take(PATH, EXECUTIONS))


async def take(path: Path, executions: int) -> None:
    """Run a demo of so many executions and write the picture of the console.

    Raises BrowserUnavailableError without Chromium, AssertionError where the page complains.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        running_backend(Path(folder) / "data", {"AOSS_WORKERS": "2"}) as backend,
    ):
        demo = [
            sys.executable,
            "-m",
            "app.cli",
            "demo",
            "--url",
            backend.url,
            "--executions",
            str(executions),
        ]
        await asyncio.to_thread(subprocess.run, demo, check=True, stdout=subprocess.DEVNULL)
        events = await asyncio.to_thread(backend.execute, plan=PLAN, query="Is there room for the report?")
        async with running_browser() as browser:
            context = await browser.new_context(base_url=backend.url, viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
            watch = Watch(backend.url)
            await watch.attach(context)
            page = await context.new_page()
            await page.goto(f"/?execution={events[0]['execution_id']}")
            await _drawn(page, backend)
            await page.screenshot(path=path)
            assert watch.problems == []


async def _drawn(page: Page, backend: BackendProcess) -> None:
    """Wait until the execution is shown to its end, and the charts know of it."""
    await ended(page, "Success")
    started = f"{backend.total('aoss_executions_total'):.0f}"
    await expect(page.locator(".totals dd").first).to_have_text(started, timeout=15_000)


if __name__ == "__main__":
    main()
