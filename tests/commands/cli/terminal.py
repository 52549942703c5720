"""A real terminal: tmux, with a shell in it, typed into and looked at."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import debian, used
from tests.support.backend import environment_of_tests

PROMPT = "ready>"


class Terminal:
    """A shell in a terminal of tmux."""

    def __init__(
        self, folder: Path, shell: list[str], environment: Mapping[str, str], size: tuple[int, int]
    ) -> None:
        tmux, needs = _tmux()
        self._environment = environment_of_tests() | needs | dict(environment)
        # The path of a socket may have 107 characters; pytest's folders have more.
        self._sockets = tempfile.TemporaryDirectory(prefix="aoss-")
        self._tmux = [tmux, "-S", f"{self._sockets.name}/tmux", "-f", "/dev/null"]
        self._run(
            "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-c", str(folder), shlex.join(shell)
        )

    def line(self, text: str) -> None:
        """Type a line."""
        self._run("send-keys", "-l", text)
        self.key("Enter")

    def text(self, text: str) -> None:
        """Type a text."""
        self._run("send-keys", "-l", text)

    def key(self, *names: str) -> None:
        """Press keys, by tmux' names: q, Enter, Tab, C-c."""
        self._run("send-keys", *names)

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        self._run("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        """Return what is on the screen."""
        return self._run("capture-pane", "-p")

    @property
    def on_second_screen(self) -> bool:
        """Return whether a program shows the screen of its own that leaves the shell's alone."""
        return self._run("display-message", "-p", "#{alternate_on}").strip() == "1"

    @property
    def shows_cursor(self) -> bool:
        """Return whether the cursor is visible."""
        return self._run("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def wait(self, seen: Callable[[str], bool] | str, seconds: float = 20.0) -> str:
        """Return the screen once it shows a text, or satisfies a condition."""
        condition = (lambda screen: seen in screen) if isinstance(seen, str) else seen
        deadline = time.monotonic() + seconds
        before = ""
        # Twice the same: else it may be half drawn.
        while not condition(screen := self.screen()) or screen != before:
            assert time.monotonic() < deadline, f"not within {seconds} s: {seen}\n{screen}"
            before = screen
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        """End the terminal and what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], env=self._environment, check=False, capture_output=True)
        self._sockets.cleanup()

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def terminal(
    folder: Path,
    environment: Mapping[str, str] | None = None,
    shell: list[str] | None = None,
    size: tuple[int, int] = (100, 30),
) -> Iterator[Terminal]:
    """Open a terminal with `aoss` on the shell's PATH; skip where there is no tmux."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    more = {"PATH": path, "LC_ALL": "C.UTF-8"} | dict(environment or {})
    # The shell in which tmux starts a command forgets the prompt: it is not interactive.
    command = ["env", f"PS1={PROMPT} ", *(shell or ["bash", "--noprofile", "--norc"])]
    opened = Terminal(folder, command, more, size)
    try:
        opened.wait(PROMPT)
        yield opened
    finally:
        opened.close()


def _tmux() -> tuple[str, dict[str, str]]:
    """Return tmux and what it needs in its environment: the system's, else Debian's package, unpacked."""
    found, needs = shutil.which("tmux"), dict[str, str]()
    if found is None:
        try:
            root = debian.unpack("tmux")
        except debian.PackageUnavailableError as error:
            pytest.skip(f"no terminal: {error}")
        found = str(root / "usr/bin/tmux")
        needs = {"LD_LIBRARY_PATH": debian.library_path(root)}
    used.note("tmux", [found, "-V"], {**os.environ, **needs})
    return found, needs
