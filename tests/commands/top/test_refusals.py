"""What `aoss top` says of an address that gives no metrics."""

import socket
import threading
from pathlib import Path

import pytest

from app.cli import main
from tests.commands.cli.running import Answer, aoss, web_server
from tests.support.backend import free_port

METRICS = "# TYPE a_total counter\na_total 7\n"


def refused(*arguments: str, code: int, **environment: str) -> str:
    """Run `aoss top`, expect an exit code and no traceback, and return what it said."""
    done = aoss("top", *arguments, **environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "url", ["localhost:8000", "not a url", "ftp://example.com", "http://", "http://[::1", "http://host:port"]
)
def test_what_is_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no http address is refused as wrong usage, with an example of one."""
    with pytest.raises(SystemExit) as ended:
        main(["top", url])
    assert ended.value.code == 2
    assert f"{url!r} is not an http or https address such as http://127.0.0.1:8000" in capsys.readouterr().err


def test_a_password_in_the_address() -> None:
    """A password in an address, which everyone's `ps` would show, is refused and not repeated."""
    said = refused("http://me:hush@127.0.0.1:1", code=2)
    assert "password" in said
    assert "hush" not in said


def test_no_such_host() -> None:
    """A host without an address is said to have none, in one line."""
    said = refused("http://nowhere.invalid/metrics", code=1)
    assert said.startswith("aoss: http://nowhere.invalid/metrics cannot be reached: ")
    assert len(said.splitlines()) == 1


def test_nobody_listens() -> None:
    """An address where nobody listens is said to refuse."""
    url = f"http://127.0.0.1:{free_port()}/metrics"
    assert refused(url, code=1) == f"aoss: {url} cannot be reached: Connection refused\n"


def test_what_speaks_no_http() -> None:
    """A server of another protocol is said not to answer as a web server would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example.com ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        said = refused(f"http://127.0.0.1:{port}", code=1)
        thread.join()
    assert "does not answer as a web server would" in said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("<html><p>hello</p></html>", "text/html"), "does not answer with metrics (a web page; "),
        (Answer('{"a": 1}', "application/json"), "does not answer with metrics (application/json; "),
        (Answer("gone", status=404), "answers 404: there is nothing at this path"),
        (
            Answer("", status=301, headers={"Location": "/there"}),
            "answers 301: it redirects: give the address",
        ),
        (Answer("", status=500), "answers 500"),
        (Answer("\x1b[31m<"), r"line 1 is no metric: '\x1b[31m<'"),
    ],
    ids=["web page", "json", "404", "redirect", "500", "control characters"],
)
def test_what_answers_otherwise(answer: Answer, words: str) -> None:
    """An address that answers with something else is told as that, in one line."""
    with web_server(answer) as server:
        said = refused(server.url, code=1)
    assert said.startswith(f"aoss: {server.url}/metrics ")
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_mounted_endpoint() -> None:
    """An address that redirects to another path of the same server is followed there, once."""
    with web_server(Answer("", status=307, headers={"Location": "/metrics/"})) as server:
        server.answers["/metrics/"] = Answer(METRICS)
        done = aoss("top", server.url, "--once")
    assert (done.returncode, "a_total" in done.stdout) == (0, True), done.stderr


def test_a_redirect_to_another_server() -> None:
    """A redirect to another server is not followed: it might be given the token."""
    with web_server(Answer(METRICS)) as other:
        elsewhere = Answer("", status=307, headers={"Location": f"{other.url}/metrics"})
        with web_server(elsewhere) as server:
            said = refused(server.url, code=1)
    assert f"answers 307: it redirects: give the address it leads to, '{other.url}/metrics'" in said


def test_tokens(tmp_path: Path) -> None:
    """A token is wanted, wrong, or right; it comes from a file, or from the environment, or its file."""
    file = tmp_path / "token"
    file.write_text("right\n")
    with web_server(Answer(METRICS)) as server:
        server.wanted_token = "right"
        assert "answers 401: it wants a token: give --token-file" in refused(server.url, code=1)
        said = refused(server.url, code=1, AOSS_API_KEY="wrong")
        assert "answers 401: the token is not the right one" in said
        for arguments, environment in (
            (["--token-file", str(file)], {}),
            ([], {"AOSS_METRICS_TOKEN_FILE": str(file), "AOSS_API_KEY": "wrong"}),
            ([], {"AOSS_API_KEY": "right"}),
        ):
            done = aoss("top", server.url, *arguments, **environment)
            assert done.returncode == 0, done.stderr
            assert "a_total" in done.stdout


def test_a_token_goes_only_to_who_asks() -> None:
    """An address that wants no token, which may be anyone's, is sent none."""
    with web_server(Answer(METRICS)) as server:
        assert aoss("top", server.url, AOSS_API_KEY="secret").returncode == 0
    assert server.authorizations == [None]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), ("", "is empty"), ("gru\u00df\n", "no header can carry")]
)
def test_a_token_file_that_cannot_be_used(tmp_path: Path, content: str | None, words: str) -> None:
    """A file without a usable token is wrong usage, and nothing is asked."""
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    said = refused("http://127.0.0.1:1", "--token-file", str(file), code=2)
    assert said.startswith("aoss: ")
    assert words in said
