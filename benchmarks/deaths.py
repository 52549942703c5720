"""What 1,000 deaths of workers leave behind: the next scrapes, and the directory."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from benchmarks import shapes
from benchmarks.results import Row, row
from benchmarks.scraping import PROMETHEUS, SMALL, WORKERS, Fleet
from benchmarks.subject import Answer, Subject

DEATHS = 1_000
AT_ONCE = 8
SERIES_EACH = 100
ROUNDS = 9
PEER_ROUNDS = 3
FOLDING_SECONDS = 60.0
NONE_DIED, HALF_DIED = "ours, no worker died", "ours, half of them died"
MIB = 1 << 20


def rows() -> list[Row]:
    """Let workers die beside four that live, and compare with four beside which none did."""
    with ExitStack() as stack:
        calm, struck = (Fleet(stack, "ours", SMALL, WORKERS) for _ in range(2))
        peer = Fleet(stack, "prometheus", SMALL, WORKERS)
        for fleet in (calm, struck, peer):
            fleet.scrape()
        sizes: list[float] = []
        left = 0
        for _ in range(2):
            left += _strike(stack, "ours", struck, DEATHS // 2)
            sizes.append(shapes.directory_bytes(struck.directory) / MIB)
        _strike(stack, "prometheus", peer, DEATHS)
        measured: dict[str, list[float]] = {"ours": [], NONE_DIED: [], PROMETHEUS: []}
        for number in range(ROUNDS + 1):
            for name, fleet in (("ours", struck), (NONE_DIED, calm), (PROMETHEUS, peer)):
                if name != PROMETHEUS or number <= PEER_ROUNDS:
                    milliseconds = fleet.scrape()
                    if number:  # the first reads the archive
                        measured[name].append(milliseconds)
        alone, peers = (shapes.directory_bytes(fleet.directory) / MIB for fleet in (calm, peer))
    unfolded = f"{left} of the dead were not folded within {FOLDING_SECONDS:.0f} s" if left else ""
    return [
        row(
            f"scrape of {SMALL:,} series after {DEATHS:,} deaths of workers",
            "ms",
            measured,
            {NONE_DIED: 1.2, PROMETHEUS: None},
            note=unfolded,
        ),
        row(
            f"directory after {DEATHS:,} deaths of workers",
            "MiB",
            {"ours": sizes[1:], HALF_DIED: sizes[:1], NONE_DIED: [alone], PROMETHEUS: [peers]},
            {HALF_DIED: 1.02, NONE_DIED: None, PROMETHEUS: None},
            note=unfolded,
        ),
    ]


def _strike(stack: ExitStack, kind: str, fleet: Fleet, deaths: int) -> int:
    """Let workers die, wait until those of ours are folded, and return how many then are not."""
    nursery = stack.enter_context(
        Subject(f"{__name__}:{kind}_nursery", fleet.directory, environment=fleet.environment)
    )
    fleet.add_outside(nursery.ask("kill", deaths))
    deadline = time.monotonic() + FOLDING_SECONDS
    while True:
        left = max(0, len(list(Path(fleet.directory).glob("*.segment"))) - WORKERS)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def ours_nursery(directory: str) -> Mapping[str, Answer]:
    """Return what forks workers of ours that record and are killed."""
    provider = shapes.our_provider(directory)
    add = shapes.instrument(provider, "counter")

    def record(numbers: Iterator[int]) -> None:
        for number in numbers:
            add(1, shapes.attributes(number))

    return {"kill": _killing(record), "close": provider.shutdown}


def prometheus_nursery(_: str) -> Mapping[str, Answer]:
    """Return what forks workers of prometheus_client that record and are killed."""
    counter = shapes.prometheus_counter()

    def record(numbers: Iterator[int]) -> None:
        for number in numbers:
            counter.labels(**shapes.attributes(number)).inc()

    return {"kill": _killing(record)}


def _killing(record: Callable[[Iterator[int]], None]) -> Answer:
    """Return what kills so many workers, each after it has recorded, and answers with their sum."""
    starts = count()

    def fork() -> tuple[int, int]:
        first = next(starts) * SERIES_EACH
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                record((first + each) % SMALL for each in range(SERIES_EACH))
                os.write(writing, b"1")
                time.sleep(60)
            finally:
                os._exit(1)
        os.close(writing)
        return pid, reading

    def kill(deaths: int) -> int:
        living: list[tuple[int, int]] = []
        for _ in range(deaths):
            living.append(fork())
            if len(living) == AT_ONCE:
                _end(*living.pop(0))
        for pid, reading in living:
            _end(pid, reading)
        return deaths * SERIES_EACH

    return kill


def _end(pid: int, reading: int) -> None:
    has_recorded = os.read(reading, 1)
    os.close(reading)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert has_recorded, "a worker ended before it had recorded"
