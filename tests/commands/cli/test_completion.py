"""`aoss completion`: the script, loaded by the shell that it is for, and Tab pressed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.commands.cli.running import aoss
from tests.commands.cli.terminal import PROMPT, Terminal, terminal
from tests.support import debian, used
from tests.support.backend import environment_of_tests


def typed(window: Terminal, line: str, expected: str) -> None:
    """Type the beginning of a line and Tab; wait for what the shell makes of it, and drop the line."""
    # Not Ctrl-C, which comes before what was typed earlier.
    window.key("C-e", "C-u", "C-l")
    window.wait(lambda screen: screen.strip() == PROMPT)
    window.text(line)
    window.key("Tab", "Tab")
    window.wait(expected)


def try_all(window: Terminal, folder: Path) -> None:
    """Try commands, options, choices and files."""
    (folder / "key-of-mine").write_text("key\n")
    typed(window, "aoss se", "aoss serve")
    typed(window, "aoss d", "doctor")
    window.wait("demo")
    typed(window, "aoss top --on", "aoss top --once")
    typed(window, "aoss metrics --format m", "--format markdown")
    typed(window, "aoss completion tc", "aoss completion tcsh")
    typed(window, "aoss demo --token-file key", "--token-file key-of-mine")


def test_bash(tmp_path: Path) -> None:
    """bash completes commands, options, choices and file names."""
    with terminal(tmp_path) as window:
        window.line("""eval "$(aoss completion bash)"; echo load''ed""")
        window.wait("loaded")
        try_all(window, tmp_path)


def test_zsh(tmp_path: Path) -> None:
    """zsh, with the script as a file on its fpath, completes the same."""
    try:
        root = debian.unpack("zsh")
    except debian.PackageUnavailableError as error:
        pytest.skip(f"no zsh: {error}")
    zsh = root / "bin/zsh"
    functions = root / "usr/share/zsh/functions"
    folders = [functions, *(path for path in functions.glob("**") if path.is_dir())]
    modules = next(root.glob("usr/lib/*/zsh/*"))
    environment = {"LD_LIBRARY_PATH": debian.library_path(root)}
    used.note("zsh", [str(zsh), "--version"], {**os.environ, **environment})
    (tmp_path / "_aoss").write_text(aoss("completion", "zsh").stdout)
    with terminal(tmp_path, environment, [str(zsh), "-f"]) as window:
        window.line(f"module_path=({modules}) fpath=({tmp_path} {' '.join(map(str, folders))}); clear")
        window.line("autoload -Uz compinit && compinit -u -d dump && echo load''ed")
        window.wait("loaded")
        try_all(window, tmp_path)


def test_tcsh(tmp_path: Path) -> None:
    """tcsh loads the script and knows the commands from it."""
    try:
        root = debian.unpack("tcsh")
    except debian.PackageUnavailableError as error:
        pytest.skip(f"no tcsh: {error}")
    tcsh = str(next(path for path in (root / "bin/tcsh", root / "usr/bin/tcsh") if path.exists()))
    environment = environment_of_tests() | {"LD_LIBRARY_PATH": debian.library_path(root)}
    used.note("tcsh", [tcsh, "--version"], environment)
    (tmp_path / "aoss.csh").write_text(aoss("completion", "tcsh").stdout)
    done = subprocess.run(
        [tcsh, "-f", "-c", "source aoss.csh; complete aoss"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "(serve demo top doctor metrics completion)" in done.stdout
