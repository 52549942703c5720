"""Debian's Chromium, found on PATH and driven by Playwright."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from playwright.async_api import Browser, async_playwright

from tests.support import used

INSTALL = "apt-get install -y --no-install-recommends chromium"
INSTALL_SECONDS = 600

# Playwright gives the browser an empty user-data-dir of its own and switches most background traffic off.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class BrowserUnavailableError(Exception):
    """Say which command installs the browser."""


@cache
def chromium_program() -> str:
    """Return the path of Chromium; only under CI as root is it installed where it is absent.

    Raises BrowserUnavailableError.
    """
    program = shutil.which("chromium")
    if program is None and os.environ.get("CI", "").lower() in ("1", "true") and os.geteuid() == 0:
        program = _installed()
    if program is None:
        raise BrowserUnavailableError(f"no chromium: {INSTALL}")
    used.note("chromium", [program, "--version"])
    return program


def _installed() -> str | None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update", INSTALL):
        done = subprocess.run(
            command.split(),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        if done.returncode:
            raise BrowserUnavailableError(f"no chromium: {command}: {done.stderr.strip()[-400:]}")
    return shutil.which("chromium")


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run a headless Chromium for the length of a block. Raises BrowserUnavailableError."""
    # The sandbox refuses to run as root.
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    program = chromium_program()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            await browser.close()
