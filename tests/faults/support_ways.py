"""A program that counts once, starts other processes in one of many ways, and has each of them count once.

Every process that counts writes a line. Arguments: a way, and when the first process counts. Its directory is
WAYS_DIRECTORY, or that of its run.
"""

import asyncio
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from typing import Any, Literal

from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from telemetry.sdk import MeterProvider
from tests.faults.support_forks import ended, forked
from tests.telemetry.sdk.support_metrics import key, scraped

JOIN_SECONDS = 15.0

# As in a worker: made when the module is imported, in the parent and again in what is spawned.
views = [View(instrument_name="x", aggregation=ExponentialBucketHistogramAggregation(max_size=16))]
provider = MeterProvider(directory=os.environ.get("WAYS_DIRECTORY") or None, views=views)
meter: Any = provider.get_meter("ways")
counter = meter.create_counter("c")
histogram = meter.create_histogram("h")
gauge = meter.create_gauge("g")
exponential = meter.create_histogram("x")
seconds = meter.create_counter("f")
bound = counter.bind({"k": "bound"}).add
bound_histogram = histogram.bind({"k": "bound"}).record
bound_seconds = seconds.bind({"k": "bound"}).add


def count(_: object = None) -> None:
    """Count once, by every kind of instrument, and say so."""
    counter.add(1, {"k": "v"})
    bound(1)
    histogram.record(1, {"k": "v"})
    bound_histogram(1)
    seconds.add(0.5, {"k": "v"})
    bound_seconds(0.5)
    gauge.set(os.getpid(), {"k": "v"})
    exponential.record(2, {"k": "v"})
    os.write(1, b"counted\n")


def in_fork() -> None:
    """Fork."""
    assert ended(forked(count)) == 0


def in_grandchild() -> None:
    """Fork in a fork; both count."""

    def child() -> None:
        count()
        in_fork()

    assert ended(forked(child)) == 0


def in_silent_grandchild() -> None:
    """Fork in a fork that never counts."""
    assert ended(forked(in_fork)) == 0


def in_daemon() -> None:
    """Fork twice, as daemons do: what started it has ended, in the usual way, when the daemon counts."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        os.setsid()
        if os.fork() == 0:
            signal.alarm(int(JOIN_SECONDS))
            os.read(read, 1)  # until the others have ended
            count()
            os._exit(0)
        os._exit(0)
    os.wait()


def in_thread() -> None:
    """Fork in a thread."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            in_fork()
        except BaseException as problem:  # noqa: BLE001 - raised again below
            failed.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(JOIN_SECONDS)
    assert not failed
    assert not thread.is_alive()


def while_threads_record() -> None:
    """Fork again and again while other threads hold every lock there is at some time."""
    stopping = threading.Event()

    def record(thread: int) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            meter.create_counter(f"noise{number % 50}").add(1, {"k": str(number % 3000)})
            # Most of the time: its lock is the one that is held for longest.
            for power in range(-30, 30):
                exponential.record(2.0**power, {"thread": str(thread), "k": str(number % 300)})
            gauge.set(number, {"k": str(thread)})
            meter.create_counter("noise").bind({"k": str(number % 3000)}).add(1)
            provider.observe()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=record, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = forked(count)
            deadline = time.monotonic() + JOIN_SECONDS
            while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() > deadline:
                    os.kill(child, signal.SIGKILL)
                time.sleep(0.001)
            assert ended(child) == 0, "a child hangs"
    finally:
        stopping.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join(JOIN_SECONDS)


async def asyncio_forks() -> None:
    """Within a loop: a command, a pool of forked processes, and a plain fork."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    assert await process.wait() == 0
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, count)
    in_fork()


def in_process(method: Literal["fork", "spawn", "forkserver"]) -> None:
    """Run in a process of multiprocessing."""
    context: SpawnContext = multiprocessing.get_context(method)  # type: ignore[assignment]
    process = context.Process(target=count)
    process.start()
    process.join(JOIN_SECONDS)
    assert process.exitcode == 0


def in_pool(method: Literal["fork", "spawn"]) -> None:
    """Run in a pool of multiprocessing, three times."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.map(count, range(3))


def in_commands() -> None:
    """Execute commands, also with a function before; none of them counts."""
    for options in ({}, {"preexec_fn": lambda: None}, {"close_fds": False}, {"start_new_session": True}):
        subprocess.run([sys.executable, "-c", "pass"], check=True, **options)
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", "pass"])  # noqa: S606 - a shell is not wanted
    assert ended(child) == 0


def in_silent_children() -> None:
    """Fork children that never count: one does nothing, one merges, one ends as programs do."""
    assert ended(forked(lambda: None)) == 0
    assert ended(forked(lambda: list(provider.merge()))) == 0
    child = os.fork()
    if child == 0:
        sys.exit(0)
    assert ended(child) == 0


def in_chain() -> None:
    """Fork a child in a child in a child, each of which counts before and after."""

    def child(depth: int) -> None:
        count()
        if depth:
            assert ended(forked(lambda: child(depth - 1))) == 0
        count()

    assert ended(forked(lambda: child(3))) == 0


def after_shutdown() -> None:
    """Fork from a process that has shut down: nothing is counted there any more."""
    provider.shutdown()
    assert ended(forked(lambda: counter.add(1, {"k": "v"}))) == 0


def outlive(*, forks: int) -> None:
    """Fork a process that counts when this one has ended in the usual way, and says what it sees then."""
    path = provider._run.path
    read, write = os.pipe()

    def survive() -> None:
        os.close(write)
        os.setsid()
        signal.alarm(int(JOIN_SECONDS))
        os.read(read, 1)  # until the others have ended
        count()
        found = scraped(provider)["c"]
        os.write(1, f"{found[key(k='v')]} {found[key(k='bound')]}\n".encode())
        provider.shutdown()
        shutil.rmtree(path)

    child = os.fork()
    if child == 0:
        try:
            if forks == 1 or os.fork() == 0:
                survive()
        finally:
            os._exit(0)
    if forks == 2:
        assert ended(child) == 0


WAYS: dict[str, Callable[[], None]] = {
    "fork": in_fork,
    "fork of a fork": in_grandchild,
    "fork of a silent fork": in_silent_grandchild,
    "chain of forks": in_chain,
    "daemon": in_daemon,
    "thread": in_thread,
    "while threads record": while_threads_record,
    "asyncio": lambda: asyncio.run(asyncio_forks()),
    "multiprocessing fork": lambda: in_process("fork"),
    "multiprocessing spawn": lambda: in_process("spawn"),
    "multiprocessing forkserver": lambda: in_process("forkserver"),
    "pool of forks": lambda: in_pool("fork"),
    "pool of spawned": lambda: in_pool("spawn"),
    "commands": in_commands,
    "silent children": in_silent_children,
    "after shutdown": after_shutdown,
    "child outlives": lambda: outlive(forks=1),
    "daemon outlives": lambda: outlive(forks=2),
}


def main(way: str, when: str) -> None:
    """Count in the parent, before or after the others were started or never, and start them."""
    if when == "before":
        count()
    WAYS[way]()
    if when == "after":
        count()


if __name__ == "__main__":
    # The name that spawned children know.
    importlib.import_module("tests.faults.support_ways").main(*sys.argv[1:])
