"""Tests of what is particular to commands on this machine."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from app.errors import SessionError
from app.runners.base import Outcome
from app.runners.local import LocalRunner, command_environment
from tests.app.runners.conftest import LOCAL, Place, run, run_once
from tests.support.processes import wait_until_gone


async def test_the_environment_is_allow_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret of the backend is neither in a command's environment nor in its parent's."""
    monkeypatch.setenv("AOSS_API_KEY", "very-secret")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    place = Place(LocalRunner(directory=tmp_path), LOCAL)
    own = (await run_once(place, "env -0 | tr '\\0' '\\n'")).stdout
    parents = (await run_once(place, "tr '\\0' '\\n' </proc/$PPID/environ")).stdout
    assert "very-secret" not in own + parents
    assert {"TERM=dumb", "LC_TIME=C.UTF-8", f"PATH={os.environ['PATH']}"} <= set(own.splitlines())


def test_without_a_path_the_systems_default_is_used() -> None:
    """A command finds programs even if the backend was started with an empty environment."""
    assert command_environment({"SECRET": "x"}) == {"PATH": os.defpath, "TERM": "dumb"}


async def test_a_command_starts_in_the_given_directory(tmp_path: Path) -> None:
    """The working directory is the runner's."""
    place = Place(LocalRunner(directory=tmp_path), LOCAL)
    assert (await run_once(place, "pwd")).stdout == f"{tmp_path}\n"


async def test_a_command_starts_at_home_by_default() -> None:
    """Without a directory it is the user's home."""
    assert (await run_once(Place(LocalRunner(), LOCAL), "pwd")).stdout == f"{Path.home()}\n"


async def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """A session that cannot start a process is refused, and says why."""
    with pytest.raises(SessionError, match=r"localhost: no process .*missing"):
        await LocalRunner(directory=tmp_path / "missing").connect(LOCAL)


async def test_a_missing_shell_is_reported_like_a_missing_command(tmp_path: Path) -> None:
    """A shell that does not exist gives the exit code and the message of a command that does not."""
    place = Place(LocalRunner(("no-such-shell", "-c"), tmp_path), LOCAL)
    result = await run_once(place, "true")
    assert (result.exit_code, result.stderr) == (127, "no-such-shell: No such file or directory\n")


async def test_the_shell_may_have_a_prefix(tmp_path: Path) -> None:
    """What comes before the command can be any program that runs another, such as one that drops rights."""
    place = Place(LocalRunner(("env", "PREFIX=there", "bash", "-c"), tmp_path), LOCAL)
    assert (await run_once(place, "echo $PREFIX")).stdout == "there\n"


async def test_a_killed_launcher_is_a_lost_session(tmp_path: Path, marker: str) -> None:
    """A command that kills what runs it gets a clear end, soon, and takes nothing else along."""
    session = await LocalRunner(directory=tmp_path).connect(LOCAL)
    started = time.monotonic()
    result = await run(
        session, f"sleep {marker}1 & setsid sleep {marker}2 & sleep 0.2; kill -9 $PPID; sleep {marker}3"
    )
    again = await run(session, "true")
    await session.close()
    assert (result.outcome, result.exit_code, again.outcome) == (Outcome.LOST, 255, Outcome.LOST)
    assert "the launcher of this session is gone" in result.stderr
    assert time.monotonic() - started < 10
    assert wait_until_gone(marker) == {}


async def test_a_launcher_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, marker: str
) -> None:
    """A launcher that was stopped does not hold up a stop for long, and its command ends all the same."""
    monkeypatch.setattr("app.runners.local.GRACE", 0.5)
    session = await LocalRunner(directory=tmp_path).connect(LOCAL)
    command = f"setsid sleep {marker}1 & sleep 0.2; kill -STOP $PPID; sleep {marker}2"
    result = await run(session, command, time_limit=1)
    await session.close()
    assert (result.outcome, result.exit_code) == (Outcome.TIMED_OUT, 124)
    assert "the launcher of this session is gone" in result.stderr
    assert wait_until_gone(marker) == {}


async def test_a_launcher_ignores_the_signals_of_a_service_manager(tmp_path: Path) -> None:
    """SIGTERM to all processes of a service leaves it to the worker what ends when."""
    place = Place(LocalRunner(directory=tmp_path), LOCAL)
    result = await run_once(
        place, "kill -TERM $PPID; kill -INT $PPID; kill -HUP $PPID; sleep 0.2; echo still here"
    )
    assert (result.exit_code, result.stdout) == (0, "still here\n")


async def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """A session that is closed can be closed again."""
    session = await LocalRunner(directory=tmp_path).connect(LOCAL)
    await session.close()
    await asyncio.wait_for(session.close(), 5)


async def test_a_killed_launcher_takes_what_left_its_tree(tmp_path: Path, marker: str) -> None:
    """A command that kills its launcher leaves nothing either, not even what had become init's by then."""
    session = await LocalRunner(directory=tmp_path).connect(LOCAL)
    command = f"(setsid sleep {marker}1 &); setsid -f sleep {marker}2; sleep 0.3; kill -9 $PPID"
    result = await run(session, command)
    await session.close()
    assert result.outcome == Outcome.LOST
    assert wait_until_gone(marker) == {}


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_cancelling_early_leaks_no_descriptor(tmp_path: Path) -> None:
    """A run that is cancelled in its first moments gives back the pipes that it had opened."""
    session = await LocalRunner(directory=tmp_path).connect(LOCAL)
    await run(session, "true")
    before = open_descriptors()
    for turns in (1, 1, 2, 2, 3, 3, 4, 4):
        task = asyncio.ensure_future(run(session, "true"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)
    assert open_descriptors() == before
    await session.close()
