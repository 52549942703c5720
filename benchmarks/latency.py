"""What a small request waits while 100,000 series are scraped without pause, of one uvicorn worker."""

import http.client
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from fastapi import FastAPI

from benchmarks import shapes
from benchmarks.results import Row, row
from benchmarks.subject import Answer, Subject

SERIES = 100_000
ROUNDS = 8
PEER_ROUNDS = 2
WINDOW_SECONDS = 2.0
# Requests come at a pace: a client that never waits measures how two processes share a core.
PAUSE_SECONDS = 0.002
ALONE, OTEL, OTEL_ALONE = "ours, not scraped", "opentelemetry's exporter", "the same, not scraped"


def rows() -> list[Row]:
    """Measure windows with and without scrapes by turns, of ours and of the official exporter."""
    measured: dict[str, list[float]] = {"ours": [], ALONE: [], OTEL: [], OTEL_ALONE: []}
    scrapes = {"ours": 0, OTEL: 0}
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=shapes.MEMORY))
        servers = {
            "ours": stack.enter_context(Subject(f"{__name__}:ours", directory)),
            OTEL: stack.enter_context(Subject(f"{__name__}:official")),
        }
        client = stack.enter_context(Subject(f"{__name__}:client"))
        scraper = stack.enter_context(Subject(f"{__name__}:scraper"))
        ports = {name: server.ask("port") for name, server in servers.items()}
        for number in range(ROUNDS):
            for name, alone in (("ours", ALONE), (OTEL, OTEL_ALONE)):
                if name == OTEL and number >= PEER_ROUNDS:
                    continue
                measured[alone].append(client.ask("p99", ports[name], WINDOW_SECONDS))
                scraper.ask("start", ports[name])
                measured[name].append(client.ask("p99", ports[name], WINDOW_SECONDS))
                scrapes[name] += scraper.ask("stop")
    return [
        row(
            f"p99 of a small request while {SERIES:,} series are scraped without pause",
            "ms",
            measured,
            {ALONE: 3, OTEL: None, OTEL_ALONE: None},
            note=f"{scrapes['ours'] / (ROUNDS * WINDOW_SECONDS):.0f} scrapes a second",
        )
    ]


def ours(directory: str) -> Mapping[str, Answer]:
    """Return a server with our endpoint."""
    from telemetry.exposition import MetricsEndpoint  # noqa: PLC0415 - imported in the process that uses it

    provider = shapes.our_provider(directory)
    return _server(provider, MetricsEndpoint(provider))


def official() -> Mapping[str, Answer]:
    """Return a server with the official exporter's endpoint, as its documentation shows."""
    from prometheus_client import make_asgi_app  # noqa: PLC0415 - as above

    provider, _ = shapes.official_provider()
    return _server(provider, make_asgi_app())


def _server(provider: Any, endpoint: Any) -> Mapping[str, Answer]:
    import uvicorn  # noqa: PLC0415 - as above

    shapes.recorder(provider, SERIES)()
    app = FastAPI(openapi_url=None)
    app.mount("/metrics", endpoint)

    @app.get("/small")
    async def small() -> str:
        return "here"

    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    def close() -> None:
        server.should_exit = True
        thread.join()
        provider.shutdown()

    return {"port": lambda: port, "close": close}


def client() -> Mapping[str, Answer]:
    """Return what sends small requests."""

    def p99(port: int, seconds: float) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        took = []
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            _get(connection, "/small")
            took.append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE_SECONDS)
        connection.close()
        return sorted(took)[int(len(took) * 0.99)]

    return {"p99": p99}


def scraper() -> Mapping[str, Answer]:
    """Return what scrapes without pause; `stop` answers with how often it did."""
    stops: list[Callable[[], int]] = []

    def start(port: int) -> None:
        stopped, scrapes, first = threading.Event(), [0], threading.Event()

        def run() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while not stopped.is_set():
                size = _get(connection, "/metrics/")
                assert size > SERIES, f"the scrape has {size} bytes"
                scrapes[0] += first.is_set()
                first.set()
            connection.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        # Text is made at the first scrape, and every later one is what is measured.
        assert first.wait(60), "there was no scrape"

        def finish() -> int:
            stopped.set()
            thread.join()
            return scrapes[0]

        stops.append(finish)

    def stop() -> int:
        return stops.pop()()

    return {"start": start, "stop": stop}


def _get(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    size = len(answer.read())
    assert answer.status == 200, f"{path} answers {answer.status}"
    return size
