"""The commands of the built-in runbooks, run for real."""

import asyncio
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.compliance.compliance import Compliance
from app.planners.runbook_planner import load_runbooks
from telemetry.labels import Decision

COMMANDS = {
    f"{runbook.id}/{number}": step
    for runbook in load_runbooks()
    for number, step in enumerate(runbook.steps, start=1)
}
LOOKING = {name: step.command for name, step in COMMANDS.items() if not step.changes}
TIME_LIMIT_SECONDS = 30
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
FULL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, None where its time ran out, and what it printed."""

    exit_code: int | None
    output: str


async def run(command: str, home: Path, path: str, prefix: list[str]) -> Ended:
    """Run a command as the runners do: an environment of its own, empty input, a bound in time."""
    process = await asyncio.create_subprocess_exec(
        *prefix,
        "/bin/bash",
        "-c",
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"},
        cwd=home,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), TIME_LIMIT_SECONDS)
    except TimeoutError:
        os.killpg(process.pid, 9)
        await process.wait()
        return Ended(None, "")
    return Ended(process.returncode, output.decode(errors="replace"))


async def failures(home: Path, path: str, prefix: list[str]) -> dict[str, Ended]:
    """Run every looking command, four at a time, and return those that ended badly or said nothing."""
    places = asyncio.Semaphore(4)

    async def one(command: str) -> Ended:
        async with places:
            return await run(command, home, path, prefix)

    ended = await asyncio.gather(*(one(command) for command in LOOKING.values()))
    return {
        name: result
        for name, result in zip(LOOKING, ended, strict=True)
        if result.exit_code != 0 or not result.output.strip()
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home directory that an unprivileged user can enter."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.owner() == Path.home().owner() and folder != Path("/tmp"):
            folder.chmod(0o755)
    return tmp_path


@pytest.fixture
def minimal_path(home: Path) -> str:
    """Return a PATH that holds what every Debian system has, and nothing else."""
    if not shutil.which("dpkg-query"):
        pytest.skip("dpkg says which packages a minimal system holds")
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Essential} ${Priority} ${Package}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    packages = [line.split()[-1] for line in listed if line.startswith("yes") or " required " in line]
    files = subprocess.run(
        ["dpkg-query", "-L", *packages], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    folder = home / "minimal"
    folder.mkdir()
    for file in [*files, "/usr/bin/awk"]:
        source = Path(file)
        if source.parent.name in {"bin", "sbin"} and source.is_file() and not (folder / source.name).exists():
            (folder / source.name).symlink_to(source)
    assert (folder / "df").exists()
    assert not (folder / "ps").exists()
    assert not (folder / "ss").exists()
    return str(folder)


async def test_commands_succeed(home: Path) -> None:
    """Each command exits 0, in time, with something to read, as the user who runs the tests."""
    assert await failures(home, FULL_PATH, []) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_commands_succeed_without_privileges(home: Path) -> None:
    """The same holds for a user who may next to nothing."""
    assert await failures(home, "/usr/local/bin:/usr/bin:/bin", NOBODY) == {}


async def test_commands_succeed_on_a_minimal_system(home: Path, minimal_path: str) -> None:
    """The same holds where only the essential packages are: each tool is probed for before it is used."""
    prefix = NOBODY if os.geteuid() == 0 else []
    assert await failures(home, minimal_path, [shutil.which(word) or word for word in prefix]) == {}


async def test_absent_tools_are_named(home: Path, minimal_path: str) -> None:
    """Where a tool is absent the output says so."""
    for name, words in {
        "listening-ports/1": "ss is not installed",
        "processes/2": "ps is not installed",
        "firewall-rules/1": "ufw",
        "slow-queries/1": "psql is not installed",
        "slow-queries/3": "neither mysql nor mariadb is installed",
        "failed-logins/4": "fail2ban is not installed",
    }.items():
        ended = await run(LOOKING[name], home, minimal_path, [])
        assert words in ended.output, name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_what_is_not_permitted_is_named(home: Path) -> None:
    """Where the user may not read something the output says so, and shows no empty result in its place."""
    for name, words in {
        "users-and-sudo/4": "/etc/shadow may not be read by this user",
        "password-policy/3": "/etc/shadow may not be read by this user",
    }.items():
        ended = await run(LOOKING[name], home, FULL_PATH, NOBODY)
        assert f"{words}\n" == ended.output, name


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_commands_parse(shell: str) -> None:
    """Every command, those that change the server included, is correct for the shells of Debian."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for name, step in COMMANDS.items():
        checked = subprocess.run(
            [shell, "-n", "-c", step.command], capture_output=True, text=True, check=False
        )
        assert checked.stderr == "", name
        assert checked.returncode == 0, name


def test_commands_that_change_are_few_and_marked() -> None:
    """The runbooks only look, but for the steps that say otherwise."""
    changing = {name for name, step in COMMANDS.items() if step.changes}
    assert {"clean-package-cache/2", "backup-postgresql/2", "flush-dns-cache/2"} == changing


def test_compliance_allows_every_command() -> None:
    """No step of a built-in runbook is denied when it is run."""
    compliance = Compliance.load()
    denied = {
        name: verdict.reason
        for name, step in COMMANDS.items()
        if (verdict := compliance.check(step.command)).decision is not Decision.ALLOWED
    }
    assert denied == {}
