"""What a series costs a worker in memory, once it was recorded and scraped."""

import asyncio
import ctypes
import gc
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import shapes
from benchmarks.results import Row, row
from benchmarks.subject import Answer, Subject

SERIES = 20_000
ROUNDS = 3
OTEL = "opentelemetry-sdk"


def rows() -> list[Row]:
    """Measure counters and histograms of both, in a fresh process each time."""
    found = []
    for kind in ("counter", "histogram"):
        measured: dict[str, list[float]] = {"ours": [], OTEL: []}
        in_files = 0.0
        for _ in range(ROUNDS):
            with (
                tempfile.TemporaryDirectory(dir=shapes.MEMORY) as directory,
                Subject(f"{__name__}:ours", directory, kind) as ours,
                Subject(f"{__name__}:official", kind) as official,
            ):
                heap, in_files = ours.ask("grow")
                measured["ours"].append(heap + in_files)
                measured[OTEL].append(official.ask("grow")[0])
        found.append(
            row(
                f"memory of a {kind} series in a worker",
                "bytes",
                measured,
                {OTEL: 1.0},
                note=f"{in_files:.0f} of ours are in the worker's segment, on tmpfs",
            )
        )
    return found


def ours(directory: str, kind: str) -> Mapping[str, Answer]:
    """Return a worker of ours, scraped through its ASGI endpoint."""
    from telemetry.exposition import MetricsEndpoint  # noqa: PLC0415 - imported in the process that uses it

    provider = shapes.our_provider(directory)
    endpoint = MetricsEndpoint(provider)
    loop = asyncio.new_event_loop()

    def scrape() -> bytes:
        return loop.run_until_complete(shapes.scrape(endpoint))

    def close() -> None:
        loop.close()
        provider.shutdown()

    def in_files() -> int:
        # The reserve and the list of admitted sets are the run's, not each worker's.
        return sum(path.stat().st_blocks * 512 for path in Path(directory).glob("*.segment"))

    return {"grow": _growth(_recorded(provider, kind), scrape, in_files), "close": close}


def official(kind: str) -> Mapping[str, Answer]:
    """Return a process of the official SDK, scraped through its Prometheus exporter."""
    provider, render = shapes.official_provider()
    return {"grow": _growth(_recorded(provider, kind), render, lambda: 0)}


def _recorded(provider: object, kind: str) -> Callable[[int], None]:
    record = shapes.instrument(provider, kind)

    def until(series: int) -> None:
        for number in range(series):
            record(1, shapes.attributes(number))

    return until


def _growth(until: Callable[[int], None], scrape: Callable[[], bytes], in_files: Callable[[], int]) -> Answer:
    """Return what answers with the bytes that a series added to the heap and to the files."""

    def measure() -> tuple[float, float]:
        until(1)
        for _ in range(2):
            scrape()
        heap, files = _heap_bytes(), in_files()
        until(SERIES)
        scrape()
        return (_heap_bytes() - heap) / SERIES, (in_files() - files) / SERIES

    return measure


def _heap_bytes() -> int:
    """Return the anonymous memory of this process: mapped segments are counted as files, not twice."""
    gc.collect()
    # What a scrape left behind for the next one to use again is no series' memory, with either.
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's anonymous memory")
