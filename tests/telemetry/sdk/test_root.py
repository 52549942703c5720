"""Which processes belong together, tried with real processes and servers."""

import importlib.util
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from telemetry.sdk.root import KEY
from tests.telemetry.sdk.support_family import WAYS
from tests.telemetry.sdk.support_processes import line_of, output, python, started, wait_for

FAMILY = "tests.telemetry.sdk.support_family"
TELL = f"from {FAMILY} import tell; tell()"
PR_SET_DUMPABLE = 4


@pytest.mark.parametrize(
    ("way", "when"),
    # A process that has not asked for its root tells its grandchildren nothing.
    [(way, when) for way in WAYS for when in ("early", "late") if (way, when) != ("nested spawn", "late")],
)
def test_children_share_the_root(way: str, when: str) -> None:
    """A child, forked or started by multiprocessing, has its parent's root, which had asked for it or not."""
    own, *found = output([sys.executable, "-m", FAMILY, way, when])

    assert {own} == set(found)


def test_an_executed_command_has_a_run_of_its_own() -> None:
    """What a service executes does not join it, nor do the executed command's own pools."""
    program = (
        "import subprocess, sys\n"
        f"{TELL}\n"
        f"subprocess.run([sys.executable, '-m', '{FAMILY}', 'multiprocessing spawn'], check=True)\n"
    )
    service, command, pool = output(python(program))

    assert service != command
    assert command == pool


def test_two_services_of_one_shell_are_apart() -> None:
    """Two services that one shell starts have different roots, neither of them the shell."""
    with started(["sh", "-c", '"$@" & "$@" & wait', "sh", *python(TELL)]) as shell:
        roots = {line_of(shell), line_of(shell)}

        assert (len(roots), str(shell.pid) not in roots) == (2, True)


def test_workers_outlive_a_killed_parent_in_the_same_run() -> None:
    """A forked worker whose parent was killed keeps its root, and what it spawns then joins."""
    program = (
        "import os, sys\n"
        f"from {FAMILY} import in_process, tell\n"
        "from telemetry.sdk.root import find_root\n"
        "find_root()\n"
        "if os.fork():\n"
        "    os.wait()\n"
        "print('forked', flush=True)\n"
        "sys.stdin.readline()\n"
        "tell()\n"
        "in_process('spawn')\n"
    )
    with started(python(program)) as parent:
        assert line_of(parent) == "forked"
        os.kill(parent.pid, signal.SIGKILL)
        os.waitpid(parent.pid, 0)
        assert parent.stdin is not None
        parent.stdin.write("\n")
        parent.stdin.flush()

        assert [str(parent.pid)] * 2 == [line_of(parent), line_of(parent)]


def test_workers_that_gave_up_privileges_share_the_root() -> None:
    """A worker that changed its user, and may not see its parent's addresses, still finds the root."""
    program = (
        "import ctypes, os\n"
        f"from {FAMILY} import tell\n"
        "print(os.getpid(), flush=True)\n"
        f"ctypes.CDLL(None).prctl({PR_SET_DUMPABLE}, 0)\n"
        "if os.fork() == 0:\n"
        "    os.geteuid() == 0 and os.setuid(65534)\n"
        "    tell()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    parent, found = output(python(program))

    assert parent == found


@pytest.mark.parametrize("key", ["", "x", "1-2-3-4 5-6-7-8", f"1-1-1-{'0' * 32} 1-1-1-{'0' * 32}", "9" * 99])
def test_a_foreign_key_is_ignored(key: str) -> None:
    """A key that is no key, or was left in another container, changes nothing."""
    own, found = output([sys.executable, "-m", FAMILY, "multiprocessing spawn", "late"], {KEY: key})

    assert own == found


def test_the_key_is_left_for_children() -> None:
    """The environment tells a root and who left it there, each with a start time and a boot."""
    (key,) = output(python(f"import os, telemetry.sdk.root as r; r.find_root(); print(os.environ['{KEY}'])"))

    assert re.fullmatch(r"(\d+-\d+-\d+-[0-9a-f]{32}) \1", key)


UVICORN = ["-m", "uvicorn", "--log-level", "error", "--port", "PORT"]
GUNICORN = ["-m", "gunicorn", "--log-level", "error", "--bind", "127.0.0.1:PORT", "--workers", "2"]


@pytest.mark.parametrize(
    ("arguments", "processes"),
    [
        ([*UVICORN, f"{FAMILY}:asgi"], 1),
        ([*UVICORN, "--workers", "2", f"{FAMILY}:asgi"], 2),
        ([*UVICORN, "--reload", "--reload-dir", "NOTES", f"{FAMILY}:asgi"], 1),
        ([*GUNICORN, f"{FAMILY}:wsgi"], 2),
        ([*GUNICORN, "--preload", f"{FAMILY}:wsgi"], 3),
    ],
    ids=["uvicorn", "uvicorn --workers", "uvicorn --reload", "gunicorn", "gunicorn --preload"],
)
def test_servers(arguments: list[str], processes: int, tmp_path: Path) -> None:
    """All workers of a server have the process that the user started for a root."""
    if importlib.util.find_spec(arguments[1]) is None:
        pytest.skip(f"{arguments[1]} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    command = [each.replace("PORT", port).replace("NOTES", str(tmp_path)) for each in arguments]

    def notes() -> dict[str, str]:
        return {path.name: path.read_text() for path in tmp_path.glob("[0-9]*[0-9]")}

    with started([sys.executable, *command], {"FAMILY_NOTES": str(tmp_path)}) as server:
        wait_for(lambda: len(notes()) >= processes)
        if "--reload" in command:
            before = set(notes())
            wait_for(lambda: (tmp_path / "changed.py").write_text("") == 0 and set(notes()) != before)

        assert {str(server.pid)} == set(notes().values())
