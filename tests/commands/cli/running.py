"""`aoss` as a process, and a web server that answers whatever a test wants."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.backend import environment_of_tests


class Answer(NamedTuple):
    """What the web server sends."""

    body: str
    content_type: str = "text/plain; version=0.0.4"
    status: int = 200
    headers: Mapping[str, str] = {}


def aoss(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `aoss` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=environment_of_tests() | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class WebServer(ThreadingHTTPServer):
    """A web server; `answer` may be changed, and that of a path; `authorizations` holds what was sent to it.

    While `answering` is clear it takes requests and keeps them waiting.
    """

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.answers: dict[str, Answer] = {}
        self.authorizations: list[str | None] = []
        self.wanted_token: str | None = None
        self.answering = threading.Event()
        self.answering.set()
        self.waiting = threading.Event()

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.server.authorizations.append(given)
        if not self.server.answering.is_set():
            self.server.waiting.set()
            self.server.answering.wait()
        answer = self.server.answers.get(self.path, self.server.answer)
        if self.server.wanted_token and given != f"Bearer {self.server.wanted_token}":
            answer = Answer("no", status=401)
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        pass


@contextmanager
def web_server(answer: Answer) -> Iterator[WebServer]:
    """Run a web server for the length of a block."""
    server = WebServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()
