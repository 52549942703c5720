"""A console open in the browser, and everything that went wrong in it."""

import re
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has none
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request

# Where the policy is broken the browser tells the page; some breaches reach the console, too, but not all.
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
"""


class Watch:
    """Remember what no page of ours may do; `problems` is empty for one that behaves.

    `allow` takes an expression for messages that a test provokes, such as the browser's own word on a
    request that failed because the backend was killed.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._seen: list[str] = []
        self._allowed: list[re.Pattern[str]] = []
        self.requests: list[Request] = []

    async def attach(self, context: BrowserContext) -> None:
        """Watch every page of a context, those to come included."""
        await context.add_init_script(_TELL_VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._seen.append(f"uncaught: {error.error}"))
        context.on("request", self._request)

    def allow(self, expression: str) -> None:
        """Tolerate messages in which the expression is found."""
        self._allowed.append(re.compile(expression))

    @property
    def problems(self) -> list[str]:
        """Return what was seen and not allowed."""
        return [line for line in self._seen if not any(each.search(line) for each in self._allowed)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._seen.append(f"console {message.type}: {message.text} ({message.location['url']})")

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self._seen.append(f"request to another origin: {request.url}")


async def violations(page: Page) -> list[str]:
    """Return axe's findings of every impact, one line each; empty for an accessible page."""
    results: dict[str, Any] = (await Axe().run(page)).response
    return [
        f"{found['id']} ({found['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for found in results["violations"]
        for node in found["nodes"]
    ]


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window; 0 for one that fits."""
    wider: int = await page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider
