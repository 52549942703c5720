"""Every way to start a process: each counts for itself, nothing is counted twice, and no child hangs."""

import sys
from pathlib import Path

import pytest

from telemetry.sdk.layout import ARCHIVE, SUFFIX
from tests.telemetry.sdk.support_metrics import key, merged
from tests.telemetry.sdk.support_processes import output

PROGRAM = [sys.executable, "-W", "error", "-m", "tests.faults.support_ways"]
SILENT = ("commands", "silent children", "after shutdown")
"""Ways in which no other process counts."""

COUNTED = {
    "fork": 2,
    "fork of a fork": 3,
    "fork of a silent fork": 2,
    "chain of forks": 9,
    "daemon": 2,
    "thread": 2,
    "while threads record": 21,
    "asyncio": 3,
    "multiprocessing fork": 2,
    "multiprocessing spawn": 2,
    "multiprocessing forkserver": 2,
    "pool of forks": 4,
    "pool of spawned": 4,
    **dict.fromkeys(SILENT, 1),
}


def run(way: str, when: str, directory: Path) -> list[str]:
    """Run a way, in which the parent counts before or after it, and return the lines of all that counted."""
    return output([*PROGRAM, way, when], {"WAYS_DIRECTORY": str(directory)})


@pytest.mark.parametrize(
    ("way", "when"),
    [
        *((way, "before") for way in COUNTED),
        *((way, "after") for way in ("fork", "chain of forks", "daemon")),
    ],
)
def test_each_process_counts_for_itself(way: str, when: str, tmp_path: Path) -> None:
    """What was counted before a fork, and after it in parent and children, is counted once."""
    assert run(way, when, tmp_path) == ["counted"] * COUNTED[way]
    found = merged(tmp_path)
    for attributes in (key(k="v"), key(k="bound")):
        assert found["c"][attributes] == COUNTED[way]
        assert found["f"][attributes] == COUNTED[way] / 2
        value = found["h"][attributes]
        assert (value.count, value.sum, sum(value.buckets)) == (COUNTED[way],) * 3
    assert found["x"][key(k="v")].count == COUNTED[way]
    assert found["g"][key(k="v")] > 1


@pytest.mark.parametrize("way", SILENT)
def test_who_never_counts_leaves_no_file(way: str, tmp_path: Path) -> None:
    """Neither an executed command, with or without a preexec_fn, nor a silent child has a segment."""
    run(way, "before", tmp_path)
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 1
    assert not (tmp_path / ARCHIVE).exists()
    assert not list(tmp_path.glob("*.new"))


def test_nobody_counts_nothing(tmp_path: Path) -> None:
    """Where no process counts, there is not even a directory."""
    assert run("silent children", "never", tmp_path / "metrics") == []
    assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize(("way", "total"), [("child outlives", 2), ("daemon outlives", 1)])
def test_who_outlives_the_root_of_the_run_counts(way: str, total: int) -> None:
    """A child that has yet to count when the root ends goes on with the run's numbers; a daemon starts anew.

    The root sees that it has children, and removes the directory only where it has none.
    """
    lines = output([*PROGRAM, way, "before"], {"WAYS_DIRECTORY": ""})
    assert lines == ["counted", "counted", f"{total} {total}"]
