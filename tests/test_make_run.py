"""`make run` in a new folder that holds nothing but what is committed or about to be."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.backend import environment_of_tests, free_port

ROOT = Path(__file__).parent.parent
INSTALL_SECONDS = 400


@pytest.mark.timeout(INSTALL_SECONDS + 60)
def test_make_run(tmp_path: Path) -> None:
    """In an empty folder one command makes the environment, starts the backend and says what to open."""
    folder = tmp_path / "aoss"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    port = free_port()
    settings = {"AOSS_DATA_DIR": str(tmp_path / "data"), "AOSS_PORT": str(port)}
    output = tmp_path / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            ["make", "run", f"PYTHON={sys.executable}"],
            cwd=folder,
            env=environment_of_tests() | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + INSTALL_SECONDS
        while not ready(port):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        assert f"http://127.0.0.1:{port}/metrics" in output.read_text()
    finally:
        # The terminal's Ctrl-C goes to make and to the backend alike.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=30)
    assert not ready(port)


def ready(port: int) -> bool:
    """Return whether the backend answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
