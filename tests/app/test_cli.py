"""The command `aoss`: what it refuses, what it says, and how it stops."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.backend import environment_of_tests, free_port, running_backend, wait_for


def aoss(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `aoss` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=environment_of_tests() | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.com"])  # noqa: S104 - to be refused
def test_refuses_other_addresses_without_a_key(host: str) -> None:
    """Without a key it refuses to listen where others can reach it, and names AOSS_API_KEY."""
    done = aoss("serve", "--host", host)
    assert done.returncode == 2
    assert "AOSS_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_lists_the_metrics(form: str) -> None:
    """`aoss metrics` prints the reference in each form; the Markdown is the page in docs."""
    done = aoss("metrics", "--format", form)
    assert (done.returncode, done.stderr) == (0, "")
    assert "aoss_executions_total" in done.stdout
    if form == "markdown":
        page = Path(__file__).parents[2] / "docs" / "metrics.md"
        assert done.stdout == page.read_text(encoding="utf-8")


def test_names_every_bad_setting() -> None:
    """It starts with no setting that it cannot use, and names each."""
    done = aoss("serve", "--port", "99999", AOSS_RETENTION_DAYS="soon")
    assert done.returncode == 2
    assert "AOSS_PORT='99999'" in done.stderr
    assert "AOSS_RETENTION_DAYS='soon'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_for_metrics_that_others_may_write(tmp_path: Path) -> None:
    """It starts with no directory for metrics that is not to be trusted, and says why in one line."""
    exposed = tmp_path / "metrics"
    exposed.mkdir()
    exposed.chmod(0o777)
    done = aoss("serve", AOSS_DATA_DIR=str(tmp_path / "data"), AOSS_METRICS_DIR=str(exposed))
    assert done.returncode == 2
    assert f"AOSS_METRICS_DIR cannot be used: {exposed}" in done.stderr
    assert "Traceback" not in done.stderr


def test_numbers_continue_in_a_directory_of_ones_own(data_dir: Path, tmp_path: Path) -> None:
    """With AOSS_METRICS_DIR a restarted backend goes on counting where the one before stopped."""
    environment = {"AOSS_METRICS_DIR": str(tmp_path / "metrics")}
    with running_backend(data_dir, environment) as backend:
        backend.execute("true")
    with running_backend(data_dir, environment) as backend:
        backend.execute("true")
        assert backend.total("aoss_executions_total") == 2


def test_port_in_use(tmp_path: Path) -> None:
    """A port that is taken is named, with the way to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = aoss("serve", "--port", port, AOSS_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert port in done.stderr
    assert "AOSS_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_database_url(tmp_path: Path) -> None:
    """A database address that cannot be used is named without its password."""
    done = aoss(
        "serve",
        "--port",
        str(free_port()),
        AOSS_DATA_DIR=str(tmp_path),
        AOSS_DATABASE_URL="oracle://u:hush@h/d",
    )
    assert done.returncode != 0
    assert "AOSS_DATABASE_URL" in done.stderr
    assert "hush" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"AOSS_DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/d"},
        {"AOSS_DATABASE_URL": "postgresql://u:hush@127.0.0.1:99999999/d"},
        {"AOSS_DATA_DIR": "/proc/nowhere"},
    ],
)
def test_store_that_cannot_be_used(tmp_path: Path, environment: dict[str, str]) -> None:
    """A database that cannot be reached, or a folder that cannot be written, is told in one line."""
    done = aoss("serve", "--port", str(free_port()), **({"AOSS_DATA_DIR": str(tmp_path)} | environment))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "hush" not in done.stderr
    assert "listens" not in done.stdout


def test_says_what_to_open(data_dir: Path) -> None:
    """At its start it prints the addresses to open, the console's first."""
    with running_backend(data_dir) as backend:
        opened = re.findall(rf"^  (\w+) +{re.escape(backend.url)}(\S*)$", backend.log, re.MULTILINE)
    assert opened[:2] == [("console", "/"), ("metrics", "/metrics")]


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly_when_idle(data_dir: Path, wish: signal.Signals) -> None:
    """A signal stops an idle backend at once, with nothing left over."""
    with running_backend(data_dir) as backend:
        backend.process.send_signal(wish)
        assert backend.process.wait(timeout=10) == 0
        assert "Traceback" not in backend.log
    assert list((data_dir / "workers").iterdir()) == []


def test_several_workers(data_dir: Path) -> None:
    """With several workers all of them serve, and they stop together and cleanly."""
    with running_backend(data_dir, {"AOSS_WORKERS": "2"}) as backend:
        wait_for(lambda: len(list((data_dir / "workers").glob("*.lock"))) == 2)
        assert [backend.execute("true")[-1]["final_status"] for _ in range(4)] == ["Success"] * 4
        assert backend.stop() == 0
    assert list((data_dir / "workers").iterdir()) == []
