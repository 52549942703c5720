"""The README's commands, word for word, in the order in which a newcomer types them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import running_backend

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)

# Not run here: what this very run is part of, and what needs a server of the reader's own.
SKIPPED = {
    "make run": "tests/test_make_run.py runs it",
    "make test": "this is it",
    "192.0.2.10": "the reader's own server; tests/app/test_over_ssh.py registers a real one",
}


def skipped(block: str) -> bool:
    """Return whether a block is one of those that are not run here."""
    return any(block.strip() == name or (name in block and "." in name) for name in SKIPPED)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `aoss serve` as `make run` does, on another port; return the port."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed: the README's lines cannot be run")
    with running_backend(tmp_path_factory.mktemp("readme") / "data") as running:
        yield str(running.port)


def run(block: str, port: str) -> str:
    """Run a block in a shell, with the port of this test in place of 8000."""
    done = subprocess.run(
        ["bash", "-c", block.replace("127.0.0.1:8000", f"127.0.0.1:{port}")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_known() -> None:
    """Each block of commands is run below or skipped by name."""
    assert len(BLOCKS) == 7
    assert sum(skipped(block) for block in BLOCKS) == len(SKIPPED)


def test_first_steps(backend: str) -> None:
    """A plan is made, steps run and stream, they are counted, and the history shows them."""
    plan, execute, metrics, history = [block for block in BLOCKS if not skipped(block)]
    assert len(json.loads(run(plan, backend))["plan"]) >= 3
    events = [json.loads(line) for line in run(execute, backend).splitlines()]
    assert events[-1]["final_status"] == "Success"
    counted = run(metrics, backend)
    assert 'aoss_executions_total{agent_type="general",server_tag="localhost"} 1' in counted
    assert 'aoss_execution_steps_total{agent_type="general",status="Success"} 2' in counted
    assert json.loads(run(history, backend))["logs"][0]["query"] == "how long has it been up?"


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
