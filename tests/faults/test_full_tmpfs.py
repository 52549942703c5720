"""A file system in memory that fills up: known series go on, new ones are counted as dropped."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.telemetry.sdk.support_metrics import Worker, key, merged
from tests.telemetry.sdk.support_processes import wait_for

LISTEN = """
import logging; logged = []; handler = logging.Handler(); handler.emit = logged.append
""".strip()
FILL = """
for n in range(1500): counter.add(1, {'n': f'{n:0>1000}'})
""".strip()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 1 MiB in memory, of its own."""
    directory = tmp_path / "mounted"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], capture_output=True, check=True)


def fill(worker: Worker) -> None:
    """Have a worker record new series until there is no space."""
    worker.do(LISTEN)
    worker.do("logging.getLogger('telemetry.sdk').addHandler(handler)")
    worker.do("counter = meter.create_counter('requests')")
    worker.do("counter.add(1, {'n': 'first'})")
    worker.do(FILL)


def test_recording_goes_on(full: Path) -> None:
    """New series are dropped and counted, which is logged once; known ones go on; nothing is raised."""
    with Worker.started(full) as worker:
        fill(worker)
        worker.do("assert 0 < provider.statistics().dropped_series < 1500")
        worker.do("for n in range(1000): counter.add(1, {'n': 'first'})")
        worker.do("assert sum(each.levelno == logging.ERROR for each in logged) == 1, logged")
        assert merged(full)["requests"][key(n="first")] == 1001
        assert len(merged(full)["requests"]) > 100


def test_the_dead_are_folded_on_a_full_disk(full: Path) -> None:
    """A worker that is killed when there is no space left is folded there, and nothing is lost."""
    with Worker.started(full) as survivor:
        survivor.do("known = meter.create_counter('known'); known.add(1)")
        with Worker.started(full) as worker:
            fill(worker)
            before = merged(full)
            worker.kill()
        wait_for(lambda: len(list(full.glob("*.segment"))) == 1)
        assert before == merged(full)
        survivor.do("known.add(1)")
        assert {**before, "known": {key(): 2}} == merged(full)
