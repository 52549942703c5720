"""What a check found: a verdict, the reason for it, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended; `skipped` says that it was not made."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` is empty where nothing needs to be done."""

    section: str
    check: str
    verdict: Verdict
    reason: str
    remedy: str = ""


class Section:
    """Collect the findings of one section, whose checks are named beforehand."""

    def __init__(self, name: str, checks: tuple[str, ...]) -> None:
        self._name = name
        self._checks = checks
        self.findings: list[Finding] = []

    def ok(self, check: str, reason: str) -> None:
        """Note that all is well."""
        self._add(check, Verdict.OK, reason)

    def warn(self, check: str, reason: str, remedy: str) -> None:
        """Note what works and should be looked at."""
        self._add(check, Verdict.WARN, reason, remedy)

    def fail(self, check: str, reason: str, remedy: str) -> None:
        """Note what does not work."""
        self._add(check, Verdict.FAIL, reason, remedy)

    def skip_rest(self, reason: str, remedy: str = "") -> None:
        """Note every check that has no finding yet as not made."""
        found = {finding.check for finding in self.findings}
        for check in self._checks:
            if check not in found:
                self._add(check, Verdict.SKIPPED, reason, remedy)

    def _add(self, check: str, verdict: Verdict, reason: str, remedy: str = "") -> None:
        if check not in self._checks:
            raise ValueError(f"section {self._name} has no check {check}")
        self.findings.append(Finding(self._name, check, verdict, reason, remedy))


def result(findings: list[Finding]) -> Verdict:
    """Return the worst verdict; checks that were not made do not count."""
    verdicts = {finding.verdict for finding in findings}
    return next((each for each in (Verdict.FAIL, Verdict.WARN) if each in verdicts), Verdict.OK)
