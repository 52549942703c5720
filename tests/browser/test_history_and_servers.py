"""The history with its filters and pages, and servers reached over a real sshd."""

import subprocess
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import WORKERS
from tests.browser.support.console import Watch, violations
from tests.browser.support.work import ended, outputs, run, steps
from tests.support.backend import BackendProcess, free_port, running_backend
from tests.support.sshd import USERS, RunningSshd, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSshd]:
    """Run an sshd."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Return a backend whose keys are where the sshd's client key will be."""
    base = tmp_path_factory.getbasetemp()
    with running_backend(
        tmp_path_factory.mktemp("browser") / "data", WORKERS | {"AOSS_SSH_KEY_DIR": str(base)}
    ) as running:
        yield running


def fingerprint_of_host(sshd: RunningSshd) -> str:
    """Return what OpenSSH itself says of the server's host key."""
    command = [sshd.program("ssh-keygen"), "-lf", str(sshd.key_path.with_name("host_key.pub"))]
    done = subprocess.run(command, env=sshd.environment, capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


async def test_history_is_paged_and_filtered(page: Page, backend: BackendProcess) -> None:
    """The history comes newest first, page by page, and can be narrowed to a status."""
    for number in range(31):
        backend.execute("true", query=f"number {number}")
    backend.execute("mkfs.ext4 /nonexistent/disk", query="a failure")
    await page.get_by_role("link", name="History").click()
    rows = page.locator("#history-list li")
    await expect(rows).to_have_count(30)
    await expect(rows.first).to_contain_text("a failure")
    await page.get_by_role("button", name="Older").click()
    await expect(rows).to_have_count(32)
    await expect(rows.nth(30).get_by_role("link")).to_be_focused()
    await expect(rows.last).to_contain_text("number 0")
    await expect(page.get_by_role("button", name="Older")).to_be_hidden()

    await page.get_by_label("Status").select_option("Failed")
    await expect(rows).to_have_count(1)
    await page.get_by_label("Status").select_option("Interrupted")
    await expect(page.get_by_text("Nothing was run that fits these filters.")).to_be_visible()


async def test_history_follows_what_runs(page: Page, backend: BackendProcess) -> None:
    """An execution that is listed as running is shown as ended once it has."""
    with backend.execution("sleep 1", query="still running") as (_, events):
        next(events)
        await page.get_by_role("link", name="History").click()
        row = page.locator("#history-list li").first
        await expect(row.locator(".badge")).to_have_text("Running")
        list(events)
    await expect(row.locator(".badge")).to_have_text("Success")


async def test_ssh_server_is_registered_tested_used_and_removed(
    page: Page,
    backend: BackendProcess,
    sshd: RunningSshd,
    tmp_path_factory: pytest.TempPathFactory,
    watch: Watch,
) -> None:
    """A server is registered with its host key's fingerprint, tested, worked on and removed."""
    await page.get_by_role("link", name="Servers").click()
    await page.get_by_role("textbox", name="Name").fill("web 01")
    await page.get_by_role("button", name="Register").click()
    await expect(page.locator("#register-problem")).to_contain_text("Name:")
    await expect(page.get_by_role("textbox", name="Name")).to_be_focused()

    await page.get_by_role("textbox", name="Name").fill("web-01")
    await page.get_by_role("textbox", name="Address").fill(sshd.host)
    await page.get_by_role("textbox", name="User").fill(sshd.users[USERS[0]])
    await page.get_by_role("spinbutton", name="Port").fill(str(sshd.port))
    key = sshd.key_path.relative_to(tmp_path_factory.getbasetemp())
    await page.get_by_role("textbox", name="Key file").fill(str(key))
    await page.get_by_role("button", name="Register").click()
    fingerprint = fingerprint_of_host(sshd)
    await expect(page.locator("#registered code").first).to_have_text(fingerprint)
    assert await violations(page) == []

    row = page.locator("#servers-list li").filter(has_text="web-01")
    await expect(row).to_contain_text(fingerprint)
    await row.get_by_role("button", name="Test connection").click()
    await expect(row).to_contain_text("Online: web-01 answers and runs commands")

    await page.get_by_role("link", name="Ask").click()
    await page.get_by_label("Server", exact=True).select_option(
        label=f"web-01 ({sshd.users[USERS[0]]}@{sshd.host}:{sshd.port})"
    )
    await run(page, "echo over ssh: ${SSH_CONNECTION:+yes}", query="on the server")
    await ended(page, "Success")
    assert await outputs(steps(page)) == ["over ssh: yes\n"]

    await page.get_by_role("link", name="Servers").click()
    await row.get_by_role("button", name="Remove").click()
    await page.get_by_role("button", name="Keep it").click()
    await expect(row).to_be_visible()
    await row.get_by_role("button", name="Remove").click()
    assert await violations(page) == []
    await page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    await expect(row).to_have_count(0)

    watch.allow("status of 422")
    await page.get_by_role("textbox", name="Name").fill("web-02")
    await page.get_by_role("textbox", name="Address").fill("127.0.0.1")
    await page.get_by_role("textbox", name="User").fill("root")
    await page.get_by_role("spinbutton", name="Port").fill(str(free_port()))
    await page.get_by_role("button", name="Register").click()
    await expect(page.locator("#register-problem")).to_contain_text("the server's key could not be asked for")
