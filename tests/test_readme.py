"""The README: its order, and its table of settings. Its commands are run by tests/documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_order() -> None:
    """A newcomer meets the screenshot, `make run`, console, demo, `make test` and the plot, in this order."""
    milestones = ("console.png", "make run\n", "the console.", "aoss demo", "make test\n", "benchmarks.svg")
    places = [README.index(each) for each in milestones]
    assert places == sorted(places)
    assert places[-1] < README.index("## The guides")


def test_settings_are_those_that_are_read() -> None:
    """The README's table of settings names every AOSS_* variable that the code reads, and no other."""
    read = {
        name
        for path in [*ROOT.glob("app/**/*.py"), *ROOT.glob("telemetry/**/*.py")]
        for name in re.findall(r'\.\w+\(\s*"(AOSS_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    table = README.partition("## Settings")[2].partition("## What remains")[0]
    rows = "".join(line for line in table.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(AOSS_[A-Z_]+)`", "".join(re.findall(r"\| (`[^|]*) \|", rows)))) == read
