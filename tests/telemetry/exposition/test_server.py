"""The standalone port: served, shared by workers, taken over, freed."""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import httpx
import pytest

from telemetry.exposition import MetricsServer, start_http_server
from tests.telemetry.exposition.sources import FixedSource, merged, stream

PATIENCE = 20.0


def source(name: str) -> FixedSource:
    """Return a provider with one counter."""
    return FixedSource(merged(stream(name, [({}, 1)])))


def scrape(port: int, **headers: str) -> httpx.Response:
    """Return one scrape over a connection of its own."""
    return httpx.get(f"http://localhost:{port}/metrics", headers=headers, timeout=PATIENCE)


def shown(port: int) -> str:
    """Return the name of the counter that is served, empty where nobody answers."""
    try:
        return scrape(port).text.splitlines()[-1].split("_total")[0]
    except httpx.TransportError:
        return ""


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail when it does not come true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


@pytest.fixture
def port() -> int:
    """Give a port that is free now."""
    with socket.create_server(("localhost", 0)) as free:
        found: int = free.getsockname()[1]
        return found


@pytest.fixture
def start() -> Iterator[Callable[..., MetricsServer]]:
    """Give start_http_server; what it started is stopped."""
    started: list[MetricsServer] = []

    def begin(*args: object, **options: object) -> MetricsServer:
        started.append(start_http_server(*args, **options))  # type: ignore[arg-type] # passed on
        return started[-1]

    yield begin
    for each in started:
        each.stop()


def test_a_port_of_its_own(port: int, start: Callable[..., MetricsServer]) -> None:
    """Metrics are served at the port, with the options of the endpoint, until it is stopped."""
    served = start(source("requests"), "localhost", port, bearer_token="secret")
    assert served.serving
    assert scrape(port).status_code == 401
    assert "requests_total 1\n" in scrape(port, authorization="Bearer secret").text
    served.stop()
    assert shown(port) == ""
    served.stop()


def test_the_next_takes_over_when_the_first_stops(port: int, start: Callable[..., MetricsServer]) -> None:
    """Of two that want a port the first serves; the other keeps trying, and has it once it is free."""
    first = start(source("first"), "localhost", port)
    second = start(source("second"), "localhost", port)
    assert (first.serving, second.serving) == (True, False)
    assert shown(port) == "first"
    first.stop()
    until(lambda: shown(port) == "second")
    assert second.serving


def test_one_that_waits_can_be_stopped(port: int, start: Callable[..., MetricsServer]) -> None:
    """Stopping one that never had the port leaves the other alone."""
    start(source("first"), "localhost", port)
    waiting = start(source("second"), "localhost", port)
    begun = time.monotonic()
    waiting.stop()
    assert time.monotonic() - begun < PATIENCE / 2
    assert shown(port) == "first"


def test_an_address_of_another_machine_is_an_error(port: int) -> None:
    """What cannot come right by waiting is raised where it was asked for."""
    with pytest.raises(OSError, match=r"."):
        start_http_server(source("x"), "192.0.2.1", port)


def work(name: str, port: int, pipe: Connection) -> None:
    """Serve in a process of its own, and say that it has started."""
    start_http_server(source(name), "localhost", port)
    pipe.send(os.getpid())
    pipe.poll(PATIENCE * 3)


@contextlib.contextmanager
def worker(name: str, port: int) -> Iterator[multiprocessing.process.BaseProcess]:
    """Run a worker process; it is gone afterwards."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(name, port, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(PATIENCE), "the worker did not start"
        assert process.pid == ours.recv()
        yield process
    finally:
        process.kill()
        process.join(PATIENCE)


def test_a_worker_takes_over_from_one_that_was_killed(port: int) -> None:
    """After a SIGKILL of the worker that serves, another does, at the same port."""
    with worker("first", port) as first, worker("second", port) as second:
        until(lambda: shown(port) == "first")
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: shown(port) == "second")
        assert second.is_alive()


def test_a_forked_child_lets_go_of_the_port(port: int, start: Callable[..., MetricsServer]) -> None:
    """A child that outlives the server does not hold its port, and its own server is not the parent's."""
    parent = start(source("parent"), "localhost", port)
    until(lambda: shown(port) == "parent")
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        parent.stop()
        os.read(ready, 1)
        os._exit(0 if not parent.serving else 1)
    try:
        os.close(ready)
        assert shown(port) == "parent"
        parent.stop()
        other = start(source("other"), "localhost", port)
        assert other.serving
        until(lambda: shown(port) == "other")
    finally:
        os.write(done, b"x")
        os.close(done)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


async def test_it_does_not_need_the_loop_of_the_application(
    port: int, start: Callable[..., MetricsServer]
) -> None:
    """The port answers while the application's event loop is busy."""
    start(source("requests"), "localhost", port)
    assert shown(port) == "requests"  # which blocks this loop
