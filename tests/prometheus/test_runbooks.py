"""The runbooks: their commands run against a real backend, their links lead somewhere."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.prometheus.files import PAGE, RUNBOOKS, fenced
from tests.prometheus.world import API_KEY, TOKEN, aoss_backend
from tests.support.backend import wait_for
from tests.support.processes import new_marker

PAGES = [PAGE, *sorted(RUNBOOKS.glob("*.md"))]


def test_every_command_works(tmp_path: Path) -> None:
    """Each command of each runbook succeeds, with an execution and a server in its variables.

    The address is replaced. The cancel is given an execution that runs, other commands one that has ended.
    """
    commands = sorted(
        {
            line
            for path in RUNBOOKS.glob("*.md")
            for block in fenced(path, "sh")
            for line in block.splitlines()
        }
    )
    assert len(commands) > 8
    with aoss_backend(tmp_path) as backend, backend.execution(f"sleep {new_marker()}") as (running, _):
        ended = backend.execute("true")[-1]["execution_id"]
        variables = {"AOSS_API_KEY": API_KEY, "AOSS_METRICS_TOKEN": TOKEN, "SERVER": "1"}
        for command in commands:
            assert command.startswith("curl "), command
            result = subprocess.run(
                ["/bin/sh", "-c", command.replace("http://localhost:8000", backend.url)],
                env={"PATH": os.environ["PATH"], "ID": running if "/cancel" in command else ended}
                | variables,
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert (result.returncode, result.stderr) == (0, ""), command
            assert result.stdout.strip(), command
        wait_for(lambda: backend.status(running) == "Cancelled")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link of a page is a file."""
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).is_file()] == []


@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: path.stem)
def test_a_runbook_has_its_parts(path: Path) -> None:
    """Each says what it means, what to look at, what to do and when it is false, with a query to run."""
    text = path.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Look at", "Do", "A false alarm"]
    assert fenced(path, "promql")
    assert all(part.strip() for part in text.split("## "))
