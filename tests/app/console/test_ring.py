"""The ring of samples: bounded, numbered, whole, written by one and read by all."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.console.ring import CAPACITY, OwnRing, Ring, SharedRing

FILE = "console.samples"


@pytest.fixture(params=["shared", "own"])
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ring]:
    """Give a ring of each kind, claimed."""
    made: Ring = SharedRing(tmp_path) if request.param == "shared" else OwnRing()
    assert made.claim()
    yield made
    made.close()


def numbers(ring: Ring) -> list[int]:
    """Return the numbers of the samples that a ring shows."""
    return [line.seq for line in ring.read().lines]


def fill(ring: Ring, count: int) -> None:
    """Append samples."""
    for number in range(count):
        ring.append(1000.0 + number, {"series": number})


def test_the_newest_are_kept(ring: Ring) -> None:
    """However many samples come, the newest are shown, in order, under numbers that only grow."""
    fill(ring, 3)
    assert numbers(ring) == [1, 2, 3]
    fill(ring, 3 * CAPACITY)
    assert numbers(ring) == list(range(2 * CAPACITY + 4, 3 * CAPACITY + 4))


def test_a_sample_is_json(ring: Ring) -> None:
    """A sample has its number, its time and its values."""
    ring.append(12.3456, {'é{a="\\""}': 1})
    assert ring.read().lines[0].text.decode() == '{"seq":1,"time":12.346,"values":{"é{a=\\"\\\\\\"\\"}":1}}'


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """The file never holds more than twice what is shown."""
    ring = SharedRing(tmp_path)
    ring.claim()
    longest = 0
    for _ in range(5):
        fill(ring, CAPACITY)
        longest = max(longest, len((tmp_path / FILE).read_bytes().splitlines()))
    assert CAPACITY < longest <= 2 * CAPACITY + 1


def test_one_samples(tmp_path: Path) -> None:
    """Of several workers one samples; when it lets go, another continues the numbers of the same run."""
    first, second = SharedRing(tmp_path), SharedRing(tmp_path)
    assert (first.claim(), second.claim(), first.claim()) == (True, False, True)
    fill(first, 2)
    run = second.read().run
    first.close()
    assert second.claim()
    fill(second, 1)
    assert (numbers(first), first.read().run) == ([1, 2, 3], run)
    assert run


def test_half_a_line(tmp_path: Path) -> None:
    """What a killed writer left of a line is neither shown nor joined to the next one."""
    first = SharedRing(tmp_path)
    first.claim()
    fill(first, 2)
    first.close()
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes() + b'3 {"seq":3,"ti')
    second = SharedRing(tmp_path)
    assert numbers(second) == [1, 2]
    second.claim()
    fill(second, 2)
    assert numbers(second) == [1, 2, 3, 4]


def test_no_space(tmp_path: Path) -> None:
    """A full disk is an error each time, and forgotten once there is space."""
    (tmp_path / FILE).symlink_to("/dev/full")
    ring = SharedRing(tmp_path)
    ring.claim()
    ring._is_whole = True
    with pytest.raises(OSError, match="No space left"):
        fill(ring, 1)
    (tmp_path / FILE).unlink()
    fill(ring, 2)
    assert numbers(ring) == [1, 2]


def test_a_reader_meets_only_whole_samples(tmp_path: Path) -> None:
    """A reader that reads while the file is appended to and written anew sees consecutive numbers."""
    ring = SharedRing(tmp_path)
    ring.claim()
    fill(ring, 1)
    is_over = threading.Event()
    seen: list[list[int]] = []

    def read() -> None:
        while not is_over.is_set():
            seen.append(numbers(SharedRing(tmp_path)))

    reader = threading.Thread(target=read)
    reader.start()
    fill(ring, 20 * CAPACITY)
    is_over.set()
    reader.join()
    assert len(seen) > 10
    assert [each for each in seen if each != list(range(each[0], each[0] + len(each)))] == []
    assert [before for before, after in itertools.pairwise(seen) if before[-1] > after[-1]] == []


def test_nothing_yet(tmp_path: Path) -> None:
    """Before the first sample there is nothing."""
    assert SharedRing(tmp_path).read() == ("", [])
