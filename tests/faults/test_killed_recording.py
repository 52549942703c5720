"""A worker that is killed at any instant of an observation, and one that is read while it observes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import pytest

from telemetry.sdk.merge import Merger
from telemetry.sdk.snapshot import SegmentReader
from tests.faults.support_killed import ROUND, VALUES, VIEWS, recorded, spread
from tests.telemetry.sdk.support_metrics import drain, provider_in, values
from tests.telemetry.sdk.support_processes import output

PROGRAM = [sys.executable, "-m", "tests.faults.support_killed"]
# Histograms commit several numbers at once, and a gauge three; of a counter only the count can be lost.
KILLS = {"explicit": 200, "exponential": 200, "gauge": 100, "ints": 50, "floats": 50, "bound": 50}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory in memory, as those of runs are, where there is such a place."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as directory:
        yield Path(directory)


@pytest.mark.parametrize(("instrument", "kills"), KILLS.items())
def test_kills_at_random_instants(instrument: str, kills: int, memory: Path) -> None:
    """After every kill the series' numbers agree, and no acknowledged observation is missing."""
    lines = output([*PROGRAM, "kill", instrument, str(memory), str(kills), "a seed"])
    assert [f"survived {kills}"] == lines


WRITERS = ("cells.py", "counters.py", "histograms.py", "segment.py", "store.py", "synchronous.py")
RECORD: dict[str, Callable[[Any, int], None]] = {
    "ints": lambda meter, n: meter.create_counter("ints").add(1, {"k": "v"}),
    "floats": lambda meter, n: meter.create_counter("floats").add(0.25, {"k": "v"}),
    "bound": lambda meter, n: meter.create_counter("bound").bind({"k": "v"}).add(1),
    "explicit": lambda meter, n: meter.create_histogram("explicit").record(
        VALUES[n % len(VALUES)], {"k": "v"}
    ),
    "exponential": lambda meter, n: meter.create_histogram("exponential").record(
        spread(n % ROUND), {"series": str(n // ROUND)}
    ),
    "gauge": lambda meter, n: meter.create_gauge("gauge").set(n + 1 if n % 2 == 0 else n + 1.5, {"k": "v"}),
}


@contextmanager
def at_each_instruction(look: Callable[[], None]) -> Iterator[None]:
    """Call a function before each bytecode of what writes to a segment."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if Path(frame.f_code.co_filename).name not in WRITERS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            look()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("instrument", RECORD)
def test_every_instruction(instrument: str, tmp_path: Path) -> None:
    """Before each bytecode of a recording the series holds all observations before it, or that one too."""
    merger = Merger(tmp_path)
    looks = 0
    wrong: list[str] = []

    def look() -> None:
        nonlocal looks
        looks += 1
        found = values(drain(merger.merge())).get(instrument)
        try:
            seen = recorded(instrument, found) if found else 0
            assert merger.sources.skipped == 0
            assert seen in (number, number + 1), f"{number} were recorded before, and {seen} are there"
        except AssertionError as problem:
            # Raised from here it would be caught by the code that is traced.
            wrong.append(f"{found}: {problem}")

    with provider_in(tmp_path, VIEWS) as provider:
        meter = provider.get_meter("m")
        for number in range(14):
            with at_each_instruction(look):
                RECORD[instrument](meter, number)
    merger.close()
    assert not wrong, wrong[:3]
    assert looks > 14 * 20


def test_series_made_while_the_catalogue_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader does not give up a file whose catalogue names cells that are newer than its last look."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")
        counter.add(1, {"k": "first"})
        read_catalogue = SegmentReader._read_catalogue

        def make_series_first(reader: SegmentReader) -> None:
            monkeypatch.undo()
            for number in range(1500):
                counter.add(1, {"k": str(number)})
                provider.get_meter("m").create_histogram("h").record(1, {"k": str(number)})
            read_catalogue(reader)

        merger = Merger(tmp_path)
        monkeypatch.setattr(SegmentReader, "_read_catalogue", make_series_first)
        drain(merger.merge())
        assert sum(values(drain(merger.merge()))["c"].values()) == 1501
        assert merger.sources.skipped == 0
        merger.close()


@pytest.mark.parametrize("instrument", KILLS)
def test_live_reads(instrument: str, tmp_path: Path) -> None:
    """Whoever reads a worker that is recording finds the numbers of some instant of the call.

    This is promised on x86-64. Elsewhere a live read may be off by the observation in flight.
    """
    [line] = output([*PROGRAM, "read", instrument, str(tmp_path), "0.5"])
    assert int(line.removeprefix("read ")) > 5
