"""A demo that is stopped, that cannot start, and whose backend goes away."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main
from app.runners.launcher import descendants
from tests.commands.cli.running import Answer, aoss, web_server
from tests.commands.cli.terminal import terminal
from tests.support.backend import BackendProcess, free_port, running_backend, wait_for


def sleeping(backend: BackendProcess) -> list[str]:
    """Return the commands of a backend that sleep at this moment."""
    found = []
    for process in descendants(backend.process.pid):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if Path(words[0].decode()).name == "sleep":
            found.append(b" ".join(words).decode())
    return found


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Run a backend with two workers."""
    with running_backend(tmp_path_factory.mktemp("stopped") / "data", {"AOSS_WORKERS": "2"}) as running:
        yield running


def test_ctrl_c(backend: BackendProcess, tmp_path: Path) -> None:
    """Ctrl-C in the middle cancels what was started: then nothing runs, and the numbers agree on that."""
    before = backend.total("aoss_executions_completed_total", status="Cancelled")
    with terminal(tmp_path) as window:
        window.line(f"aoss demo --url {backend.url}; echo ended: $?")
        window.wait(" of 40 ")
        # Long enough to be still running when the key arrives.
        wait_for(lambda: {"sleep 6", "sleep 10", "sleep 8"} & set(sleeping(backend)))
        window.key("C-c")
        screen = window.wait("\nended: ")
        assert "\nended: 130\n" in screen
        assert "\nStopped: what was running has been cancelled.\n" in screen
        assert "Traceback" not in screen
        assert window.shows_cursor
    assert sleeping(backend) == []
    executions = backend.http.get("/api/executions").json()["executions"]
    # Not only those that the demo cancels anyway.
    assert {each["status"] for each in executions if each["query"] != "Wait until someone cancels"} >= {
        "Cancelled"
    }
    assert "Running" not in {each["status"] for each in executions}
    assert backend.total("aoss_active_executions") == 0
    cancelled = backend.total("aoss_executions_completed_total", status="Cancelled") - before
    assert re.search(
        rf"^executions ended: Cancelled +{cancelled:.0f} +{cancelled:.0f}  agree$", screen, re.MULTILINE
    )


def test_numbers_that_differ(backend: BackendProcess, tmp_path: Path) -> None:
    """Executions of someone else make the numbers differ, which is said, with exit code 1."""
    with terminal(tmp_path) as window:
        window.line(f"aoss demo --url {backend.url} --executions 2; echo ended: $?")
        # Until it has ended: one alone may come too late.
        for _ in range(200):
            backend.execute("true")
            if "\nended: " in window.screen():
                break
        screen = window.wait("\nended: ")
    assert "\nended: 1\n" in screen
    assert "DIFFER" in screen
    assert "The numbers differ: someone else ran executions meanwhile" in screen


def test_the_backend_goes(tmp_path: Path) -> None:
    """A backend that goes away in the middle is told in one line, and the exit code is 1."""
    with running_backend(tmp_path / "data") as backend, terminal(tmp_path) as window:
        window.line(f"aoss demo --url {backend.url} 2> errors")
        window.wait(" of 40 ")
        wait_for(lambda: sleeping(backend))
        backend.kill()
        window.line("echo ended: $?")
        window.wait("ended: 1", seconds=30)
    (line,) = (tmp_path / "errors").read_text().splitlines()
    assert line.startswith(f"aoss: {backend.url} ")


def test_keys_and_a_backend_at_its_limit(tmp_path: Path) -> None:
    """The key is wanted, wrong, or right; a full backend is waited for; no token, no comparison."""
    (key := tmp_path / "key").write_text("right\n")
    settings = {"AOSS_API_KEY": "right", "AOSS_METRICS_TOKEN": "other", "AOSS_MAX_ACTIVE_EXECUTIONS": "1"}
    with running_backend(tmp_path / "data", settings) as backend:
        done = aoss("demo", "--url", backend.url)
        assert (done.returncode, done.stdout) == (1, "")
        wanted = "answers 401: it wants its key: give --token-file, or set AOSS_API_KEY"
        assert done.stderr == f"aoss: {backend.url} {wanted}\n"
        done = aoss("demo", "--url", backend.url, AOSS_API_KEY="wrong")
        assert done.stderr == f"aoss: {backend.url} answers 401: the key is not the right one\n"
        done = aoss("demo", "--url", backend.url, "--executions", "2", "--token-file", str(key))
        assert (done.returncode, done.stderr) == (0, "")
        assert "answers 401: it wants a token" in aoss("top", backend.url).stderr
        assert "AGENT" in aoss("top", backend.url, AOSS_METRICS_TOKEN="other").stdout
        backend.http.headers["Authorization"] = "Bearer other"
        assert backend.total("aoss_api_requests_total", endpoint="/api/chat/execute", status_code="429") > 0
    # Plain lines stand for the bar where there is no terminal.
    assert "\n1 of 2: 1 Success\n2 of 2: 2 Success\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert f"The numbers are not compared: {backend.url}/metrics answers 401" in done.stdout
    assert re.search(r"^executions started +2$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("{}", "application/json"), "answers, but not as an AOSS backend would"),
        (Answer("<html>", "text/html"), "answers, but not as an AOSS backend would"),
        (Answer('{"servers": []}', "application/json"), "has no local server to run on"),
        (Answer("", status=404), "answers 404: that is no AOSS backend, or not its address"),
    ],
    ids=["other json", "web page", "no local server", "404"],
)
def test_what_is_no_backend(answer: Answer, words: str) -> None:
    """An address that is no backend's is told as that, in one line, with exit code 1."""
    with web_server(answer) as server:
        done = aoss("demo", "--url", server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nobody_listens() -> None:
    """Where nobody listens it says how to start a backend, at once."""
    url = f"http://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    done = aoss("demo", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"aoss: {url} does not answer: ")
    assert "`aoss serve` starts a backend" in done.stderr
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("number", ["0", "-1", "10001", "many", "1.5"])
def test_numbers_of_executions(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of executions that is none, or too many, is wrong usage."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", f"--executions={number}"])
    assert ended.value.code == 2
    assert f"{number!r} is not a number from 1 to 10000" in capsys.readouterr().err
