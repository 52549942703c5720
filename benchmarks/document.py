"""The table of the last run in docs/benchmarks.md, between two marks; the words around it are by hand."""

from pathlib import Path

from benchmarks import table
from benchmarks.results import Run

PATH = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- begin: the last run -->", "<!-- end: the last run -->"


def write(run: Run, source: Path) -> None:
    """Replace what stands between the marks; raises ValueError where they are missing."""
    PATH.write_text(updated(PATH.read_text(encoding="utf-8"), run, source.name), encoding="utf-8")


def updated(text: str, run: Run, source: str) -> str:
    """Return the document's text with the table of a run."""
    return placed(
        text,
        f"From `benchmarks/results/{source}`, {run.started[:10]}.\n\n"
        f"{table.markdown(run)}\n\n{table.machine(run)}",
    )


def placed(text: str, shown: str) -> str:
    """Return a text with other words between its marks; raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the document has no place for the table")
    return f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}"
