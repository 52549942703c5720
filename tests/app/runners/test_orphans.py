"""Tests that nothing of a command outlives it, however it ends, here and on a server."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from app.runners.base import Outcome, Target
from app.runners.ssh import SshRunner
from tests.app.runners.conftest import Place, run, run_once, ssh_target
from tests.support.processes import marked, wait_until_gone
from tests.support.sshd import USERS, RunningSshd, running_sshd

pytestmark = pytest.mark.skipif(not shutil.which("pgrep"), reason="pgrep (package procps) is not installed")

# Each sleeps for the marker followed by a digit of its own.
LEAVING = """
trap '' TERM HUP
sleep {marker}1 &
nohup setsid sleep {marker}2 &
(setsid sh -c 'sleep {marker}3 &' &)
env -i setsid sleep {marker}4 &
sleep {marker}5 | sleep {marker}6 &
"""
# An orphan without a trace of where it came from: only a child subreaper gets to know it.
ESCAPING = "(env -i setsid sh -c 'sleep {marker}7 &' &)\n"

WORKER = """
import asyncio, json, pathlib, sys
from app.runners.base import Target
from app.runners.local import LocalRunner
from app.runners.ssh import SshRunner

async def main():
    order = json.load(sys.stdin)
    target = Target(**{**order["target"], "key_path": pathlib.Path(order["target"]["key_path"])})
    runner = SshRunner() if target.runner == "ssh" else LocalRunner()
    session = await runner.connect(target)
    await session.run(order["command"], time_limit=60, stop=asyncio.Event())

asyncio.run(main())
"""


def leaving(marker: str, *, escaping: bool = True, then: str = "") -> str:
    """Return a command that leaves processes in every way, waits until they run, and goes on."""
    kinds = "1 2 3 4 5 6 7" if escaping else "1 2 3 4 5 6"
    # Whole arguments: the marker is in those of the shell that runs this as well.
    wait = f"until pgrep -fx 'sleep {marker}'$n >/dev/null; do sleep 0.01; done"
    started = (LEAVING + ESCAPING if escaping else LEAVING).format(marker=marker)
    return f"{started}for n in {kinds}; do {wait}; done; echo ready; {then}"


async def until_running(marker: str) -> None:
    """Return once each kind of process runs, and the last command as well."""
    wanted = {f"sleep {marker}{kind} " for kind in "12345678"}
    while not wanted <= set(marked(marker).values()):  # noqa: ASYNC110 - nothing tells of other processes
        await asyncio.sleep(0.02)


async def test_the_end_of_a_command_ends_what_it_left(place: Place, marker: str) -> None:
    """A command that ends by itself leaves nothing in the background, and no less of its result."""
    result = await run_once(place, leaving(marker, then="exit 7"))
    assert (result.exit_code, result.stdout, marked(marker)) == (7, "ready\n", {})


async def test_stop_ends_everything(place: Place, marker: str) -> None:
    """A stopped command is gone with all its descendants when run returns, and that is soon."""
    session = await place.runner.connect(place.target)
    stop = asyncio.Event()
    task = asyncio.create_task(
        session.run(leaving(marker, then=f"sleep {marker}8"), time_limit=60, stop=stop)
    )
    await until_running(marker)
    stop.set()
    result = await asyncio.wait_for(task, 5)
    assert (
        result.outcome,
        result.exit_code,
        result.stdout,
        result.stderr,
        marked(marker),
    ) == (Outcome.STOPPED, 143, "ready\n", "", {})
    assert (await run(session, "echo next")).stdout == "next\n"
    await session.close()


async def test_the_time_limit_ends_everything(place: Place, marker: str) -> None:
    """A command whose time is up is gone with all its descendants when run returns."""
    result = await run_once(place, leaving(marker, then=f"sleep {marker}8"), time_limit=2)
    assert (result.outcome, result.exit_code, marked(marker)) == (Outcome.TIMED_OUT, 124, {})


async def test_cancelling_the_task_ends_everything(place: Place, marker: str) -> None:
    """A cancelled run has ended its command before the cancellation is seen."""
    session = await place.runner.connect(place.target)
    task = asyncio.create_task(run(session, leaving(marker, then=f"sleep {marker}8")))
    await until_running(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert marked(marker) == {}
    await session.close()


async def test_closing_the_session_ends_everything(place: Place, marker: str) -> None:
    """A session that is closed while a command runs takes the command with it, and says so."""
    session = await place.runner.connect(place.target)
    task = asyncio.create_task(run(session, leaving(marker, then=f"sleep {marker}8")))
    await until_running(marker)
    await session.close()
    assert (await asyncio.wait_for(task, 10)).outcome == Outcome.LOST
    assert wait_until_gone(marker) == {}


async def test_a_killed_worker_leaves_nothing(place: Place, marker: str) -> None:
    """SIGKILL of the process that runs a command ends the command with all its descendants."""
    fields = {name: getattr(place.target, name) for name in Target.__dataclass_fields__}
    order = {
        "target": {**fields, "key_path": str(place.target.key_path)},
        "command": leaving(marker, then=f"sleep {marker}8"),
    }
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, stdin=pipe)
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(order).encode())
    worker.stdin.close()
    try:
        await asyncio.wait_for(until_running(marker), 20)
    finally:
        worker.kill()
        await worker.wait()
    assert wait_until_gone(marker) == {}


async def test_a_command_that_keeps_forking_is_ended(place: Place, marker: str) -> None:
    """Processes that are started while others are being killed are killed as well."""
    forking = f"for n in $(seq 500); do setsid sleep {marker} & sleep 0.005; done"
    command = f"({forking}) & (trap '' TERM; {forking}) & {forking}"
    result = await run_once(place, command, time_limit=1)
    assert (result.outcome, result.stderr) == (Outcome.TIMED_OUT, "")
    await asyncio.sleep(0.2)  # One that was missed would start the next by now.
    assert marked(marker) == {}


@pytest.mark.parametrize("user", USERS)
async def test_a_killed_script_on_the_server_leaves_nothing(
    sshd: RunningSshd, user: str, marker: str
) -> None:
    """What a command leaves is found by its mark even if the command kills the script that watches it."""
    place = Place(SshRunner(), ssh_target(sshd, user))
    command = (
        f"setsid sleep {marker}1 & (setsid sleep {marker}2 &); sleep 0.2; kill -9 $PPID; sleep {marker}3"
    )
    result = await run_once(place, command)
    assert result.outcome == Outcome.EXITED
    assert wait_until_gone(marker) == {}


def folder_without_perl(folder: Path) -> Path:
    """Return a folder that can stand in for PATH and has every program but Perl."""
    programs = folder / "programs"
    programs.mkdir()
    for path in (*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()):
        link = programs / path.name
        if not path.name.startswith("perl") and not link.is_symlink():
            link.symlink_to(path)
    folder.chmod(0o755)
    return programs


async def test_a_server_without_perl_ends_all_that_can_be_found(tmp_path: Path, marker: str) -> None:
    """Where nothing makes the script a subreaper, the mark and the tree still find what leaves a trace."""
    with running_sshd(tmp_path, f"SetEnv PATH={folder_without_perl(tmp_path)}") as server:
        place = Place(SshRunner(), ssh_target(server, USERS[0]))
        perl = await run_once(place, "command -v perl")
        # As many as make the killing take a while, none of which is found without its parent.
        many = f"for n in $(seq 200); do env -i sleep {marker} & done; sleep 60"
        result = await run_once(place, leaving(marker, escaping=False, then=many), time_limit=2)
    assert perl.exit_code == 1
    assert (result.outcome, marked(marker)) == (Outcome.TIMED_OUT, {})
