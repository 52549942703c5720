"""Providers, workers and merges for tests: what was measured, as numbers by metric and attribute set."""

import contextlib
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from opentelemetry.sdk.metrics.view import View

from telemetry.sdk import MeterProvider
from telemetry.sdk.columns import Stream
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import MergedStream
from tests.telemetry.sdk.support_processes import line_of, python, started

WORKER = """
import os, sys
from telemetry.sdk import MeterProvider, PerWorkerView
from opentelemetry.metrics import Observation
provider = MeterProvider(directory=sys.argv[1], views=eval(sys.argv[2]))
meter = provider.get_meter("test")
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""

Key = tuple[tuple[str, Any], ...]


def drain(steps: Generator[None, None, Any]) -> Any:
    """Run a generator of steps to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def key(attributes: Mapping[str, Any] | None = None, /, **more: Any) -> Key:
    """Return an attribute set as the keys of `values` are, where True, 1 and 1.0 are three values."""
    return tuple(
        (name, value if isinstance(value, str) else repr(value).encode())
        for name, value in sorted({**(attributes or {}), **more}.items())
    )


def values(streams: Sequence[MergedStream | Stream]) -> dict[str, dict[Key, Any]]:
    """Return the values of streams by name and attribute set, without what has nothing to report."""
    found: dict[str, dict[Key, Any]] = {}
    for each in streams:
        stream = each.merged if isinstance(each, Stream) else each
        series = found.setdefault(stream.name, {})
        for attributes, value in zip(stream.attributes, stream.values, strict=True):
            if value is not None:
                assert key(attributes) not in series, f"{stream.name}: {attributes} is there twice"
                series[key(attributes)] = value
    return {name: series for name, series in found.items() if series}


def scraped(provider: MeterProvider) -> dict[str, dict[Key, Any]]:
    """Return what a scrape of a provider shows."""
    return values(drain(provider.merge()).streams)


def merged(directory: Path) -> dict[str, dict[Key, Any]]:
    """Return what a process that comes new to a directory reads there."""
    merger = Merger(directory)
    try:
        return values(drain(merger.merge()))
    finally:
        merger.close()


@contextlib.contextmanager
def provider_in(directory: Path, views: Sequence[View] = (), **options: Any) -> Iterator[MeterProvider]:
    """Give a provider that is shut down in the end."""
    provider = MeterProvider(directory=directory, views=views, shutdown_on_exit=False, **options)
    try:
        yield provider
    finally:
        provider.shutdown()


class Worker:
    """A process that runs lines of Python, in which `provider` and `meter` are of a directory."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path, views: str = "()") -> Iterator[Self]:
        """Start a worker that ends with the block."""
        with started(python(WORKER, str(directory), views)) as process:
            yield cls(process)

    def do(self, line: str) -> None:
        """Have it run a line, and wait until that is done."""
        self.begin(line)
        self.wait()

    def begin(self, line: str) -> None:
        """Have it run a line; `wait` must follow."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Wait until the line that it began is done."""
        assert line_of(self._process) == "done", "the worker failed"

    def kill(self) -> None:
        """Kill it as the kernel would when memory runs out."""
        self._process.kill()
        self._process.wait(20)
