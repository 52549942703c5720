"""An application that notes, wherever it is imported or forked, which run its process belongs to."""

import asyncio
import importlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Literal

from telemetry.sdk.root import find_root


def note() -> None:
    """Write a file named as this process that holds the pid of its root."""
    if folder := os.environ.get("FAMILY_NOTES"):
        temporary = Path(folder, f".{os.getpid()}")
        temporary.write_text(str(find_root().pid))
        temporary.rename(Path(folder, str(os.getpid())))


if "FAMILY_NOTES" in os.environ:
    note()
    os.register_at_fork(after_in_child=note)


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Serve nothing."""


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve nothing."""
    start_response("204 No Content", [])
    return []


def write(number: int) -> None:
    """Write a line at once, whole beside those of other processes."""
    os.write(1, f"{number}\n".encode())


def tell() -> None:
    """Print the pid of the root that this process finds."""
    write(find_root().pid)


def tell_in_nested_process() -> None:
    """Print the root found here and in a process spawned from here."""
    tell()
    in_process("spawn")


def in_process(method: Literal["fork", "spawn", "forkserver"], target: Callable[[], None] = tell) -> None:
    """Run in a process of multiprocessing."""
    context: SpawnContext = multiprocessing.get_context(method)  # type: ignore[assignment]
    process = context.Process(target=target)
    process.start()
    process.join(20)
    assert process.exitcode == 0


def in_fork() -> None:
    """Print the roots found by a forked child and by its own forked child."""
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        tell()
        if grandchild != 0:
            os.waitpid(grandchild, 0)
        os._exit(0)
    os.waitpid(child, 0)


def in_thread() -> None:
    """Fork in a thread."""
    thread = threading.Thread(target=in_fork)
    thread.start()
    thread.join(20)


async def in_asyncio() -> None:
    """Fork within a running loop."""
    in_fork()


def in_pool() -> None:
    """Run in a pool of spawned processes."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(tell).result(20)


WAYS: dict[str, Callable[[], None]] = {
    "fork": in_fork,
    "fork in a thread": in_thread,
    "fork in asyncio": lambda: asyncio.run(in_asyncio()),
    "multiprocessing fork": lambda: in_process("fork"),
    "multiprocessing spawn": lambda: in_process("spawn"),
    "multiprocessing forkserver": lambda: in_process("forkserver"),
    "pool": in_pool,
    "nested spawn": lambda: in_process("spawn", tell_in_nested_process),
}

if __name__ == "__main__":
    family = importlib.import_module("tests.telemetry.sdk.support_family")  # the name that children know

    family.write(os.getpid())
    if "early" in sys.argv:
        find_root()
    family.WAYS[sys.argv[1]]()
