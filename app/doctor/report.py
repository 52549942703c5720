"""The findings for a person and for a program."""

import json
from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.text import Text

from app.doctor.findings import Finding, Verdict, result

# Counted up when a field changes its meaning or goes; new fields and checks may come without that.
SCHEMA_VERSION = 1

_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red", Verdict.SKIPPED: "dim"}


def as_json(findings: list[Finding]) -> str:
    """Return the report as the JSON object that docs/doctor.md describes."""
    report = {
        "version": SCHEMA_VERSION,
        "result": result(findings),
        "findings": [
            {
                "section": finding.section,
                "check": finding.check,
                "verdict": finding.verdict,
                "reason": finding.reason,
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }
    return json.dumps(report, indent=2) + "\n"


def print_lines(findings: list[Finding], output: TextIO) -> None:
    """Print a line a finding and a summary; colours only on a terminal that wants them."""
    console = Console(file=output, highlight=False, soft_wrap=True)
    for (section, verdict, reason, remedy), group in groupby(findings, key=_same_line):
        checks = [finding.check for finding in group]
        told = f"{section}.{checks[0]}" if len(checks) == 1 else section
        line = Text().append(f"{verdict:<8}", style=_STYLES[verdict])
        line.append(f"{told:<24} {_visible(reason)}")
        if len(checks) > 1:
            line.append(f": {', '.join(checks)}")
        console.print(line)
        if remedy:
            console.print(Text(f"{'':8}-> {_visible(remedy)}"))
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    console.print(Text(", ".join(f"{count} {verdict}" for verdict, count in counts.items())))


def _same_line(finding: Finding) -> tuple[str, Verdict, str, str]:
    return finding.section, finding.verdict, finding.reason, finding.remedy


def _visible(text: str) -> str:
    # What others answered could move the cursor or colour the terminal.
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
