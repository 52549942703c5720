"""One shell for one page: its blocks run in their order, in a copy of the repository."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from tests.documentation.pages import ROOT

BLOCK_SECONDS = 100.0
STOP_SECONDS = 40.0
# The Makefile's, in the order in which it makes them.
STAMPS = ("made.stamp", "run.stamp", "dev.stamp")


class CommandError(AssertionError):
    """Say which commands failed, and what they said."""


def copy_of_the_tree(folder: Path) -> None:
    """Copy what is committed or about to be, with a `.venv` that has this environment's programs.

    It is a folder of its own with links in it, and `make` finds it up to date: the Makefile clears an
    environment that it takes for unfinished, and must have no way to that of the tests.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    own, tests = folder / ".venv", Path(sys.prefix)
    (own / "bin").mkdir(parents=True)
    for each in (*tests.glob("lib*"), *tests.glob("bin/*"), tests / "pyvenv.cfg"):
        (own / each.relative_to(tests)).symlink_to(each)
    for stamp in STAMPS:
        (own / stamp).touch()


class Shell:
    """A bash in which a command that fails ends everything, as does a part of a pipe; for a `with` block."""

    def __init__(self, folder: Path, environment: Mapping[str, str], logs: Path) -> None:
        self._logs = logs
        self._number = 0
        self._serving: dict[str, int] = {}
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, "rb", buffering=0)
        with (logs / "shell.log").open("wb") as log:
            self._bash = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
            )
        os.close(writing)
        self._answer_to = writing
        # Jobs get process groups of their own by -m, so that one can be stopped with all that it started.
        self._type("set -emo pipefail")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self._serving.values():
            self._stop(group)
        assert self._bash.stdin is not None
        with suppress(BrokenPipeError):
            self._bash.stdin.close()
        try:
            self._bash.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._bash.kill()
            self._bash.wait(timeout=10)
        # What a command that took too long has left behind.
        for process in _session(self._bash.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._answers.close()

    def run(self, commands: str) -> str:
        """Run commands and return what they print; raises CommandError where one fails."""
        script, output, errors = self._files(commands)
        self._type(f". {script} >{output} 2>{errors} </dev/null {self._answer_to}>&-")
        if self._answer("done") != "done":
            raise CommandError(f"{commands}\nprinted:\n{_text(output)}\nand said:\n{_text(errors)}")
        return _text(output)

    def serve(self, commands: str, url: str) -> None:
        """Start commands that stay until the end, in the place of those that served the same address before.

        Returns when the address answers; raises CommandError where it does not.
        """
        if before := self._serving.pop(url, None):
            self._stop(before)
        script, output, errors = self._files(commands)
        self._type(f"(. {script}) >{output} 2>{errors} </dev/null {self._answer_to}>&- &")
        group = int(self._answer("$!") or "0")
        self._serving[url] = group
        deadline = time.monotonic() + BLOCK_SECONDS
        while not _answers(url):
            if not _is_running(group) or time.monotonic() > deadline:
                raise CommandError(
                    f"{commands}\n{url} does not answer:\n{_text(output)}\nand said:\n{_text(errors)}"
                )
            time.sleep(0.05)

    def _files(self, commands: str) -> tuple[Path, Path, Path]:
        self._number += 1
        script = self._logs / f"{self._number}.sh"
        script.write_text(commands, encoding="utf-8")
        return script, script.with_suffix(".out"), script.with_suffix(".err")

    def _type(self, line: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{line}\n".encode())
        self._bash.stdin.flush()

    def _answer(self, word: str) -> str:
        """Return what the shell says when it has come to here; nothing where it has ended or is too slow."""
        with suppress(BrokenPipeError):
            self._type(f"echo {word} >&{self._answer_to}")
        ready, _, _ = select.select([self._answers], [], [], BLOCK_SECONDS)
        return self._answers.readline().decode().strip() if ready else ""

    def _stop(self, group: int) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
            while _is_running(group):
                if time.monotonic() > deadline:
                    os.killpg(group, signal.SIGKILL)
                time.sleep(0.05)


def _is_running(group: int) -> bool:
    """Return whether a process of the group lives; one that only waits to be reaped does not."""
    shown = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return bool(re.search(rf"^\s*{group}\s+[^Z\s]", shown, re.MULTILINE))


def _session(leader: int) -> list[int]:
    """Return the processes of a session."""
    shown = subprocess.run(["ps", "-eo", "sid=,pid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in shown.splitlines())
    return [int(process) for session, process in pairs if int(session) == leader]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False, follow_redirects=True).status_code == 200
    except httpx.TransportError:
        return False


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
