"""`aoss top` in a real terminal."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.commands.cli.running import Answer, web_server
from tests.commands.cli.terminal import PROMPT, Terminal, terminal
from tests.support.backend import BackendProcess, running_backend


def row(screen: str, name: str) -> list[str]:
    """Return the words after a name in its line, none while there is no such line."""
    found = [line.split()[1:] for line in screen.splitlines() if line.split()[:1] == [name]]
    return found[0] if found else []


def test_numbers_sizes_and_the_end(backend: BackendProcess, tmp_path: Path) -> None:
    """The numbers are those of the executions and move with them, at any size; q leaves all as it was."""
    for _ in range(3):
        backend.execute("true", agent_type="network")
    backend.execute("exit 3", agent_type="database")
    with terminal(tmp_path, size=(110, 30)) as window:
        window.line("echo before; stty -g > tty-before")
        window.line(f"aoss top {backend.url}")
        screen = window.wait("q quits")
        assert "  OpenMetrics" in screen
        assert row(screen, "network")[:5] == ["3", "0", "3", "0", "0"]
        assert row(screen, "database")[:5] == ["1", "0", "0", "1", "0"]
        assert row(screen, "all")[0] == str(round(backend.total("aoss_executions_total")))
        assert "100.0 %" in " ".join(row(screen, "network"))
        assert "errors   command_error 1" in screen

        backend.execute("sleep 0.3", agent_type="security")
        screen = window.wait(lambda text: row(text, "security")[:1] == ["1"])
        # The one execution that top has seen lies in the bucket from 250 to 500 ms.
        assert " ".join(row(screen, "all")[-6:]) == "375 ms 475 ms 498 ms"

        small = resized(window, 60, 15)
        assert [row(small, each)[:1] for each in ("database", "network", "security")] == [["1"], ["3"], ["1"]]
        assert re.search(r"^COUNTERS +per s +total$", small, re.MULTILINE)
        large = resized(window, 200, 50)
        assert "interrupted" in large
        assert "GAUGES" in large
        assert row(large, "aoss_active_executions") == ["0", "4"]
        rate, total = row(large, "aoss_executions_total")
        assert (0 < float(rate) < 1, total) == (True, str(round(backend.total("aoss_executions_total"))))

        window.key("q")
        screen = window.wait(lambda text: text.rstrip().endswith(PROMPT))
        assert (window.on_second_screen, window.shows_cursor) == (False, True)
        assert "before" in screen.splitlines()
        window.line("echo ended: $?; stty -g | diff - tty-before && echo same")
        window.wait(lambda text: "ended: 0\nsame\n" in text)


def resized(window: Terminal, width: int, height: int) -> str:
    """Return the screen that is drawn for another size."""
    window.resize(width, height)
    screen = window.wait(
        lambda text: [len(line) for line in text.splitlines() if line.endswith("q quits")] == [width]
    )
    assert len(screen.splitlines()) <= height
    # A cut name ends in an ellipsis; a number is never cut.
    assert not re.search(r"\d…", screen)
    return screen


def test_the_backend_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the backend is away the last numbers stay under a line that says so, until it is back."""
    with terminal(tmp_path) as window:
        with running_backend(tmp_path / "data") as first:
            first.execute("true")
            window.line(f"aoss top {first.url}")
            screen = window.wait("q quits")
            assert row(screen, "all")[:1] == ["1"]
            port = first.port
            first.stop()
            screen = window.wait("no answer for")
            assert "Connection refused" in screen
            assert row(screen, "all")[:1] == ["1"]
        monkeypatch.setattr("tests.support.backend.free_port", lambda: port)
        with running_backend(tmp_path / "data") as second:
            screen = window.wait(lambda text: "\nup " in text)
            # A new run counts from zero.
            assert row(screen, "all")[:1] == ["0"]
            second.execute("true")
            window.wait(lambda text: row(text, "all")[:1] == ["1"])
        window.key("C-c")
        window.wait(lambda text: text.rstrip().endswith(PROMPT))
        window.line("echo ended: $?")
        screen = window.wait("ended: ")
        assert "ended: 130" in screen
        assert "Traceback" not in screen


def test_suspended_and_terminated(backend: BackendProcess, tmp_path: Path) -> None:
    """Ctrl-Z gives the shell its terminal back, fg goes on, and SIGTERM leaves it in order too."""
    with terminal(tmp_path) as window:
        window.line(f"aoss top {backend.url}")
        window.wait("q quits")
        window.key("C-z")
        window.wait("Stopped")
        assert (window.on_second_screen, window.shows_cursor) == (False, True)
        window.line("jobs -p > pid; fg")
        window.wait("q quits")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        window.wait(lambda text: text.rstrip().endswith(PROMPT))
        assert (window.on_second_screen, window.shows_cursor) == (False, True)
        window.line("echo ended: $?")
        window.wait("ended: 143")


def test_a_hundred_thousand_series(tmp_path: Path) -> None:
    """An address with 100,000 series is summed, stays live, and q is answered at once."""
    lines = "".join(
        f'work_done_total{{instance="host-{number}",path="/a/b/{number % 7}"}} 2\n'
        for number in range(100_000)
    )
    body = f"# TYPE work_done_total counter\n{lines}"
    with web_server(Answer(body)) as server, terminal(tmp_path) as window:
        window.line(f"aoss top {server.url}")
        screen = window.wait("100,000 series", seconds=60)
        assert row(screen, "work_done_total") == ["0", "200000"]
        server.answer = Answer(body.replace('host-7",path="/a/b/0"} 2', 'host-7",path="/a/b/0"} 1000002'))
        window.wait(lambda text: row(text, "work_done_total")[1:] == ["1.20", "M"], seconds=60)
        window.key("q")
        window.wait(lambda text: text.rstrip().endswith(PROMPT), seconds=5)


def test_names_that_are_long_or_that_a_terminal_would_obey(tmp_path: Path) -> None:
    """A long name gives way to its numbers, and nothing that an address sends is obeyed by the terminal."""
    body = f"# TYPE {'x' * 70}_total counter\n{'x' * 70}_total 987654\n"
    body += '# TYPE g gauge\ng 1\n{"\x1b[31mred\x07"} 2\n{"[bold]x[/bold]"} 3\n'
    with web_server(Answer(body)) as server, terminal(tmp_path, size=(60, 15)) as window:
        window.line(f"aoss top {server.url}")
        screen = window.wait("q quits")
    assert re.search(r"^x{20,}… +0 +987654$", screen, re.MULTILINE)
    assert "?[31mred?" in screen
    assert "[bold]x[/bold]" in screen


def test_an_address_that_hangs(tmp_path: Path) -> None:
    """While an address keeps a scrape waiting, q is answered all the same."""
    with web_server(Answer("# TYPE g gauge\ng 1\n")) as server, terminal(tmp_path) as window:
        window.line(f"aoss top {server.url}")
        window.wait("q quits")
        server.answering.clear()
        assert server.waiting.wait(timeout=20)
        window.key("q")
        # The scrape is given up only after 5 s.
        window.wait(lambda text: text.rstrip().endswith(PROMPT), seconds=4)
