"""The table of the benchmarks: what counts as missed, and that the documentation shows the kept data."""

import pytest

from benchmarks import document, table
from benchmarks.results import FOLDER, Machine, Row, Run, row
from benchmarks.subject import Subject


def run_of(*rows: Row) -> Run:
    """Return a run of these rows."""
    return Run(Machine("a processor", 2, 1.0, "a system", "a Python", {}, [0.0], [0.0]), rows)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A round in which the machine was slow for all changes nothing."""
    found = row("x", "ns", {"ours": [1, 10, 3], "peer": [2, 20, 4]}, {"peer": 0.5})
    assert (found.figure, found.peers[0].figure, found.peers[0].ratio, found.missed) == (3, 4, 0.5, False)


def test_a_missed_promise_is_said_in_its_line_and_in_the_end() -> None:
    """The line of the peer says missed, and the last sentence names the row."""
    missed = row("slow", "ms", {"ours": [3.0], "a": [2.0], "b": [9.0]}, {"a": 1.0, "b": 1.0})
    shown = table.markdown(run_of(missed, row("fast", "ms", {"ours": [1.0], "a": [2.0]}, {"a": 1.0})))
    lines = shown.splitlines()
    assert [" a " in line for line in lines if "| missed |" in line] == [True]
    assert lines[-1] == "1 of 2 promises were missed: slow."


def test_an_absolute_figure_may_keep_a_promise_that_the_ratio_breaks() -> None:
    """The less strict of two bounds holds."""
    measured = {"ours": [50.0], "a": [60.0]}
    assert not row("x", "µs", measured, {"a": 0.4}, or_at_most=60).missed
    assert row("x", "µs", measured, {"a": 0.4}, or_at_most=40).missed


def test_the_documentation_shows_the_last_run_that_was_kept() -> None:
    """The table cannot drift from the data."""
    last = max(FOLDER.glob("*.json"))
    text = document.PATH.read_text(encoding="utf-8")
    assert document.updated(text, Run.load(last), last.name) == text


def test_a_subject_that_dies_is_no_answer() -> None:
    """A child that ends without an answer raises."""
    with Subject("os:abort") as subject, pytest.raises(RuntimeError, match="has died"):
        subject.ask("anything")
