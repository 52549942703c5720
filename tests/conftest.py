"""What every test shares: skips that count as failures under CI, and the list of real servers used."""

import os
import re
from collections.abc import Generator

import pytest

from tests.support import used

UNDER_CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI is set."""
    report = yield
    if UNDER_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, which counts as a failure: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which real programs the tests ran, and what was not run."""
    terminalreporter.section("real programs")
    for line in sorted(used.programs):
        terminalreporter.line(line)
    reasons = {
        re.sub(r"^Skipped: ", "", str(report.longrepr[2] if isinstance(report.longrepr, tuple) else ""))
        for report in terminalreporter.stats.get("skipped", [])
    }
    for reason in sorted(reasons):
        terminalreporter.line(f"NOT RUN: {reason}")
