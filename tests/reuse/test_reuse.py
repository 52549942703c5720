"""The three lines of docs/measuring.md, in a service of their own, under the servers that people use."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.backend import environment_of_tests, free_port

ROOT = Path(__file__).parent.parent.parent
SERVICE = "tests.reuse.service:app"

SERVERS = {
    "uvicorn": ["uvicorn", SERVICE, "--workers", "4", "--log-level", "warning", "--port"],
    "gunicorn": ["gunicorn", SERVICE, "-w", "4", "-k", "uvicorn_worker.UvicornWorker", "--bind"],
    "gunicorn --preload": [
        *("gunicorn", SERVICE, "--preload", "-w", "4", "-k", "uvicorn_worker.UvicornWorker", "--bind")
    ],
}


class Service:
    """The running service."""

    def __init__(self, command: list[str], log: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        address = str(port) if command[0] == "uvicorn" else f"127.0.0.1:{port}"
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, address],
                cwd=ROOT,
                env=environment_of_tests(),
                stdout=output,
                stderr=output,
            )
        self._wait_until(lambda: len(self.workers()) == 4 and self.answers())

    def answers(self) -> bool:
        """Return whether a request is answered."""
        try:
            return httpx.get(f"{self.url}/metrics/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes, which alone hold a segment."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ]

    def order(self, kind: str, times: int) -> None:
        """Order, each time over a connection of its own, so that every worker has some."""
        for _ in range(times):
            assert httpx.post(f"{self.url}/orders/{kind}", trust_env=False).status_code == 200

    def scrape(self) -> dict[str, float]:
        """Return orders by kind, and the requests that FastAPI counted, as some worker shows them."""
        text = httpx.get(f"{self.url}/metrics", follow_redirects=True, trust_env=False).text
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "shop_orders_total":
                    found[sample.labels["kind"]] = sample.value
                if sample.name == "http_server_request_duration_seconds_count":
                    route = sample.labels.get("http_route", "")
                    found[route] = found.get(route, 0.0) + sample.value
        return found

    def _wait_until(self, ready: object) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            if self.process.poll() is None and callable(ready) and ready():
                return
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"the service did not start:\n{self._log.read_text(errors='replace')}")

    def stop(self) -> None:
        """Stop the service and whatever it started."""
        children = (
            psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        )
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for child in children:
            if child.is_running():
                child.kill()


@pytest.fixture(params=SERVERS)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """Give the service under each server."""
    started = Service(SERVERS[request.param], tmp_path / "log")
    yield started
    started.stop()


def test_every_worker_shows_the_numbers_of_all(service: Service) -> None:
    """Whichever worker answers, its scrape is the whole, and a killed worker takes nothing with it."""
    service.order("tea", 40)
    assert [
        {key: value for key, value in service.scrape().items() if not key.startswith("/metrics")}
        for _ in range(8)
    ] == [{"tea": 40.0, "/orders/{kind}": 40.0}] * 8
    killed = service.workers()[1].pid
    os.kill(killed, signal.SIGKILL)
    service.order("tea", 10)
    service.order("milk", 2)
    assert [
        {key: value for key, value in service.scrape().items() if not key.startswith("/metrics")}
        for _ in range(8)
    ] == [{"tea": 50.0, "milk": 2.0, "/orders/{kind}": 52.0}] * 8


def test_the_guide_shows_this_service() -> None:
    """The example in docs/measuring.md is the file that runs here, but for its docstrings."""
    code = (Path(__file__).parent / "service.py").read_text(encoding="utf-8")
    shown = "\n".join(line for line in code.splitlines()[2:] if not line.strip().startswith('"""')).strip()
    assert shown in (ROOT / "docs/measuring.md").read_text(encoding="utf-8")
