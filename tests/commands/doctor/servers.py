"""What no real program here would be: a server with the answers of a test, and a balancer."""

import itertools
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

HTML = "text/html; charset=utf-8"
JSON = "application/json"


class Page(NamedTuple):
    """One answer."""

    status: int
    content_type: str
    body: str


@contextmanager
def answering(
    pages: Mapping[str, Page], authorization: str | None = None, *, heard: list[str | None] | None = None
) -> Iterator[str]:
    """Answer paths with pages, other paths with 404, and 401 without the authorization; give the address.

    The authorizations that were sent are added to `heard`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if heard is not None:
                heard.append(self.headers["Authorization"])
            page = pages.get(self.path.partition("?")[0], Page(404, JSON, '{"message": "Not found"}'))
            if authorization not in (None, self.headers["Authorization"]) and self.path != "/api/health":
                page = Page(401, JSON, '{"message": "Unauthorized"}')
            body = page.body.encode()
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        # The default of 5 overflows when eight connect at once, which are then tried again after 1 s.
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def balancing(ports: Sequence[int]) -> Iterator[str]:
    """Pass every connection on to one of the ports, each in its turn; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        turns = itertools.cycle(ports)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_connect, args=(client, next(turns)), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # Closing alone does not wake the accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _connect(client: socket.socket, port: int) -> None:
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        forward = threading.Thread(target=_copy, args=(client, server), daemon=True)
        forward.start()
        _copy(server, client)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
