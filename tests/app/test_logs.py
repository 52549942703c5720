"""What the backend logs."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.backend import running_backend

FAILING = """
from app import logs
logs.configure("info", "text")
import structlog
def work():
    password = "s3cr3t" + "-value"
    raise ValueError("broken")
try:
    work()
except ValueError:
    structlog.get_logger("test").exception("it failed")
"""


def test_lines_are_json_with_the_executions_id(data_dir: Path) -> None:
    """Away from a terminal each line is JSON, and those of an execution carry its id."""
    with running_backend(data_dir) as backend:
        execution_id = backend.execute("true")[-1]["log_id"]
        backend.stop()
        lines = [json.loads(line) for line in backend.log.splitlines() if line.startswith("{")]
    told = [line["event"] for line in lines if line.get("execution_id") == execution_id]
    assert told == ["execution started", "execution ended"]
    assert {"level", "logger", "timestamp"} <= set(lines[0])


def test_tracebacks_show_no_local_variables() -> None:
    """A traceback on a terminal shows where, and never what the variables held."""
    shown = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, text=True, check=True, timeout=30
    ).stderr
    assert "ValueError: broken" in shown
    assert "s3cr3t-value" not in shown
