"""The limit of attribute sets, which holds over all workers of a run together."""

import os
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.view import View

from telemetry.sdk.admission import Admissions, digest
from tests.telemetry.sdk.support_metrics import Worker, key, merged

STREAM = digest(b"stream")
OVERFLOW = key({"otel.metric.overflow": True})
VIEWS = [View(instrument_name="c", aggregation_cardinality_limit=30)]


def sets(numbers: range) -> list[bytes]:
    """Return the digests of different attribute sets."""
    return [digest(str(number).encode()) for number in numbers]


def test_a_set_is_admitted_up_to_the_limit_and_for_ever(tmp_path: Path) -> None:
    """As many sets as the limit allows are admitted, those stay admitted, and others never are."""
    admissions = Admissions(tmp_path)
    for _ in range(3):
        assert [admissions.admit(STREAM, each, 3) for each in sets(range(5))] == [True] * 3 + [False] * 2


def test_streams_are_limited_apart(tmp_path: Path) -> None:
    """Every stream has a list of its own."""
    admissions = Admissions(tmp_path)
    assert admissions.admit(STREAM, digest(b"1"), 1)
    assert admissions.admit(digest(b"other"), digest(b"2"), 1)
    assert not admissions.admit(STREAM, digest(b"2"), 1)


def test_what_another_process_admitted_is_admitted(tmp_path: Path) -> None:
    """Who comes new, or looked before, knows what others admitted, and counts it."""
    first, second = Admissions(tmp_path), Admissions(tmp_path)
    one, two, three = sets(range(3))
    assert second.admit(STREAM, one, 2)
    assert first.admit(STREAM, two, 2)
    assert second.admit(STREAM, two, 2)
    assert not second.admit(STREAM, three, 2)
    assert [Admissions(tmp_path).admit(STREAM, each, 2) for each in (one, two, three)] == [True, True, False]


@pytest.mark.parametrize("torn", range(1, 16))
def test_a_torn_entry_is_written_over(tmp_path: Path, torn: int) -> None:
    """The part of an entry that a killed writer left counts for nothing, and disturbs none that follows."""
    before, after = sets(range(2))
    assert Admissions(tmp_path).admit(STREAM, before, 2)
    with (tmp_path / "admitted").open("ab") as file:
        file.write(os.urandom(torn))
    assert Admissions(tmp_path).admit(STREAM, after, 2)
    fresh = Admissions(tmp_path)
    assert [fresh.admit(STREAM, each, 2) for each in (before, after)] == [True, True]
    assert not fresh.admit(STREAM, digest(b"third"), 2)
    assert (tmp_path / "admitted").stat().st_size == 32


def test_without_space_a_set_is_not_admitted(tmp_path: Path) -> None:
    """Where the list cannot be written that is an OSError, and the set is not admitted in secret."""
    (tmp_path / "admitted").mkdir()
    with pytest.raises(OSError, match="directory"):
        Admissions(tmp_path).admit(STREAM, digest(b"1"), 2)


def test_the_limit_holds_over_all_workers(tmp_path: Path) -> None:
    """Workers that record at once have as many series together as the limit allows, and one for the rest."""
    program = (
        "c = meter.create_counter('c'); "
        "[c.add(1, {{'k': str(n % 50)}}) for n in range({0} * 7, {0} * 7 + 100)]"
    )
    views = "__import__('tests.telemetry.sdk.test_admission', fromlist=['VIEWS']).VIEWS"
    with Worker.started(tmp_path, views) as one, Worker.started(tmp_path, views) as two:
        with Worker.started(tmp_path, views) as three:
            workers = (one, two, three)
            for number, worker in enumerate(workers):
                worker.begin(program.format(number))
            for worker in workers:
                worker.wait()
            found = merged(tmp_path)["c"]
            assert len(found) == 30 + 1
            assert OVERFLOW in found
            assert sum(found.values()) == 300
            # Every number was counted twice by each worker.
            assert {value for series, value in found.items() if series != OVERFLOW} == {6}
            three.kill()
        one.do("[c.add(1, {'k': str(n)}) for n in range(50, 60)]")
        after = merged(tmp_path)["c"]
    assert after.keys() == found.keys()
    assert after[OVERFLOW] == found[OVERFLOW] + 10
