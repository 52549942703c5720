"""Tests of what a command gets and what comes back of it, in every place."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from app.runners.base import OUTPUT_LIMIT_BYTES, Outcome
from tests.app.runners.conftest import Place, run, run_once

MEBIBYTE = 1 << 20


async def test_output_and_exit_code_come_back(place: Place) -> None:
    """Standard output, standard error and the exit code are told apart."""
    result = await run_once(place, "echo out; echo err >&2; exit 3")
    assert (result.outcome, result.exit_code, result.signal) == (Outcome.EXITED, 3, None)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert 0 < result.duration < 20


@pytest.mark.parametrize(
    ("command", "exit_code", "signal"),
    [
        ("true", 0, None),
        ("false", 1, None),
        ("kill -KILL $$", 137, "SIGKILL"),
        ("kill -INT $$", 130, "SIGINT"),
        ("kill -TERM 0", 143, "SIGTERM"),
        ("trap '' TERM; kill -TERM 0; exit 5", 5, None),
        ("bash -c 'kill -SEGV $$'; exit $?", 139, "SIGSEGV"),
        ("exit 255", 255, None),
        ("no-such-command-anywhere", 127, None),
    ],
)
async def test_exit_codes_follow_the_shell(
    place: Place, command: str, exit_code: int, signal: str | None
) -> None:
    """An exit code is the command's, or 128+n with the name of signal n."""
    result = await run_once(place, command)
    assert (result.outcome, result.exit_code, result.signal) == (Outcome.EXITED, exit_code, signal)


async def test_a_session_runs_one_command_after_another(place: Place) -> None:
    """Commands of one session do not share a shell, and output does not leak from one to the next."""
    session = await place.runner.connect(place.target)
    results = [await run(session, command) for command in ("x=1; echo a", "echo b$x", "exit 4")]
    await session.close()
    assert [(result.stdout, result.exit_code) for result in results] == [("a\n", 0), ("b\n", 0), ("", 4)]


async def test_the_shell_is_bash(place: Place) -> None:
    """A command may be written for bash where bash is present."""
    assert (await run_once(place, "set -o pipefail; false | true")).exit_code == 1


async def test_input_is_empty(place: Place) -> None:
    """A command that reads its input finds the end at once."""
    result = await run_once(place, "cat; read -r line; echo $?")
    assert (result.outcome, result.stdout) == (Outcome.EXITED, "1\n")


async def test_only_the_standard_descriptors_are_open(place: Place) -> None:
    """A command inherits no pipe or socket of the machinery that runs it."""
    result = await run_once(place, "sleep 5 & sleep 0.1; echo $(ls /proc/$!/fd)")
    assert result.stdout == "0 1 2\n"


async def test_a_broken_pipe_ends_a_program(place: Place) -> None:
    """Signals have their default action: a writer without a reader dies silently."""
    result = await run_once(place, "yes | head -n 1; trap")
    assert (result.stdout, result.stderr) == ("y\n", "")


async def test_a_command_of_64_kib_with_every_kind_of_quote(place: Place) -> None:
    """A long command arrives as it was given."""
    text = "'\"$`\\!\n#ü€🙂*?~ %" * 4000
    escaped = text.encode()[: 60 * 1024].decode(errors="ignore").replace("EOT", "")
    result = await run_once(place, f"cat <<'EOT'\n{escaped}\nEOT\n")
    assert result.stdout == escaped + "\n"


async def test_a_command_that_no_shell_can_be_given_is_refused(place: Place) -> None:
    """NUL, lone surrogates and more than the kernel takes are errors of the caller; the session goes on."""
    session = await place.runner.connect(place.target)
    for command in ("echo \0", "echo \udcff", "#" * 131072):
        with pytest.raises(ValueError, match=r"command|surrogates"):
            await run(session, command)
    assert (await run(session, "echo on")).stdout == "on\n"
    await session.close()


async def test_binary_output_becomes_text(place: Place) -> None:
    """NUL and invalid UTF-8 come back as U+FFFD."""
    result = await run_once(place, r"printf 'a\0b\377c'; printf 'caf\303\251' >&2")
    assert (result.stdout, result.stderr) == ("a\ufffdb\ufffdc", "café")


async def test_stop_before_the_start_counts(place: Place) -> None:
    """A command whose stop is already set does not do its work."""
    session = await place.runner.connect(place.target)
    stop = asyncio.Event()
    stop.set()
    started = time.monotonic()
    result = await session.run("sleep 30; echo done", time_limit=60, stop=stop)
    await session.close()
    assert (result.outcome, result.stdout) == (Outcome.STOPPED, "")
    assert time.monotonic() - started < 10


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_a_flood_of_output_takes_bounded_memory(place: Place) -> None:
    """A flood is read to its end, cut and marked, while memory stays where it was."""
    size = 1024 * MEBIBYTE if place.target.runner == "local" else 200 * MEBIBYTE
    peak = before = resident_bytes()
    task = asyncio.create_task(run_once(place, f"head -c {size} /dev/zero; echo the end", time_limit=100))
    while not task.done():
        await asyncio.wait({task}, timeout=0.02)
        peak = max(peak, resident_bytes())
    result = task.result()
    assert result.exit_code == 0
    assert result.stdout.endswith("\ufffdthe end\n")
    assert " bytes cut ...]" in result.stdout
    assert OUTPUT_LIMIT_BYTES // 2 < len(result.stdout.encode()) <= OUTPUT_LIMIT_BYTES
    assert peak - before < 64 * MEBIBYTE
