"""Names on the pages are names that exist: variables, metrics, options of the commands."""

import argparse
import json
import re

import pytest

from app.cli import parser
from telemetry import reference
from tests.documentation.pages import ROOT, blocks, pages

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Read by Grafana, for the links of exemplars.
ELSEWHERE = {"AOSS_CONSOLE_URL"}
SUFFIXES = r"_(?:bucket|count|sum|created)$"
# Recorded under their first names (docs/prometheus.md), and the first half of those recorded names.
RECORDED = {"aoss_executions_completed", "aoss_self_healing_attempts"}
# Names of files, jobs and databases, and beginnings of names.
OTHERS = re.compile(r"aoss_(?:api_key|metrics_token|database_url|backend|execution_|executions_?)$")


def text(page: str) -> str:
    """Return a page."""
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in pages() if "AOSS_" in text(page)])
def test_variables(page: str) -> None:
    """Every AOSS_ variable of a page is in the README's table of settings."""
    listed = set(re.findall(r"`(AOSS_[A-Z_]+)`", README)) | ELSEWHERE
    found = {name.removesuffix("_FILE") for name in re.findall(r"\bAOSS_[A-Z_]*[A-Z]\b", text(page))}
    assert sorted(found - listed) == []


@pytest.mark.parametrize("page", [page for page in pages() if re.search(r"\baoss_", text(page))])
def test_metrics(page: str) -> None:
    """Every aoss_ name of a page is a metric of the reference, or another name that is given here."""
    known = {metric["prometheusName"] for metric in json.loads(reference.as_json())} | RECORDED
    # A recorded rule's name has colons around that of its metric.
    found = set(re.findall(r"(?<![\w:/.])aoss_[a-z_]+(?![\w:])", text(page)))
    assert (
        sorted(
            name
            for name in found
            if re.sub(SUFFIXES, "", name) not in known and name not in known and not OTHERS.match(name)
        )
        == []
    )


def test_commands() -> None:
    """Every command and option of `aoss` on the pages is one of the program's."""
    (commands,) = (
        action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    wrong = []
    for page in pages():
        for block in blocks(page):
            for name, rest in re.findall(
                r"\baoss ([a-z]+)((?: [^|;&\n]*)?)", block.text if block.is_commands else ""
            ):
                options = set(re.findall(r"(?<=\s)(--[a-z-]+)", rest))
                known = set(commands[name]._option_string_actions) if name in commands else set()
                wrong += [
                    f"{block.place}: {name} {option}" for option in options - known or ([] if known else [""])
                ]
    assert wrong == []
