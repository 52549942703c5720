"""The command line as a whole: its help, its exit codes, and nothing but one line for a mistake."""

import re
import shlex
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import pytest

from app.cli import main, parser
from tests.commands.cli.running import aoss
from tests.support.backend import environment_of_tests

COMMANDS = ("serve", "demo", "top", "doctor", "metrics", "completion")
HEAVY = ("uvicorn", "fastapi", "sqlalchemy", "httpx2", "rich", "shtab", "pydantic")


def help_of(*command: str) -> str:
    """Return what --help prints."""
    with redirect_stdout(StringIO()) as printed, pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return printed.getvalue()


@pytest.fixture(autouse=True)
def _a_terminal_that_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")


def test_the_help_lists_every_command() -> None:
    """`aoss --help` lists the commands, says where to start, and what the exit codes mean."""
    text = help_of()
    assert tuple(re.findall(r"^    ([a-z]+)\b", text, re.MULTILINE)) == COMMANDS
    assert "Start with `aoss serve`" in text
    assert "exit codes: 0 done" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """A command's help has sentences, an example that its own parser takes, and lines that fit."""
    text = help_of(command)
    description = text.partition("\n\n")[2].partition("\n\n")[0]
    assert description.endswith((".", ":")), description
    assert max(map(len, text.splitlines())) <= 115
    examples = re.findall(r"^  (?:[A-Z_]+=\S+ |eval \"\$\()?(aoss [^|>#)\n]+)", text, re.MULTILINE)
    assert examples
    for example in examples:
        _, *arguments = shlex.split(example)
        assert arguments[0] == command
        assert callable(parser().parse_args(arguments).run)


@pytest.mark.parametrize("command", ["serve", "demo", "top", "doctor"])
def test_help_tells_environment_and_exit_codes(command: str) -> None:
    """The help of what can fail names the variables that it reads and what its exit codes mean."""
    text = help_of(command)
    assert "AOSS_API_KEY" in text
    assert re.search(r"exit\s+codes?", text)


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["serve", "--port", "web"], ["top", "--fast"], ["metrics", "--format", "xml"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that is not understood ends with 2, usage and reason, and without a traceback."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("usage: aoss")
    assert re.search(r"^aoss.*: error: ", said, re.MULTILINE)


def test_version() -> None:
    """`aoss --version` says which."""
    assert aoss("--version").stdout == f"aoss {version('aoss-telemetry')}\n"


@pytest.mark.parametrize("command", ["metrics", "completion bash"])
def test_whoever_reads_goes(command: str) -> None:
    """A reader that goes away, as `head` does, ends a command quietly, as SIGPIPE would."""
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", *command.split()],
        env=environment_of_tests(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        code = process.wait(timeout=30)
    assert (code, said) == (128 + signal.SIGPIPE, "")


def test_the_parser_is_light() -> None:
    """To parse the command line brings none of the libraries that only one command needs."""
    program = f"import sys, app.cli; app.cli.parser(); print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment_of_tests(),
    )
    assert done.stdout == "[]\n"
