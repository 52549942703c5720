"""A service whose workers are killed, recycled and added under load, while another process scrapes it.

Clients count what was answered; a request that was cut off may have been counted or not. The scraper ends the
program if a counter ever decreases. Prints one line of JSON. Arguments: a directory, seconds, a seed.
"""

import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from telemetry.exposition import exposition
from telemetry.sdk import MeterProvider
from tests.faults.support_forks import ended, forked

OPENMETRICS = "application/openmetrics-text"
CLIENTS = ("a", "b", "c")
MOST_WORKERS = 5
SCRAPE_SECONDS = 0.1
_MONOTONIC = ("_total", "_count", "_bucket", "_sum")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(provider: MeterProvider) -> Series:
    """Return every sample of a scrape, as prometheus_client's strict parser reads it."""
    text, _ = exposition(provider, OPENMETRICS)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def serve(listener: socket.socket, directory: str) -> None:
    """Answer each byte with a byte, once it was counted; SIGTERM ends it when no request is open."""
    provider = MeterProvider(directory=directory)
    meter = provider.get_meter("service")
    requests = meter.create_counter("requests")
    seconds = meter.create_histogram("seconds", explicit_bucket_boundaries_advisory=[0.25, 0.5, 0.75])
    active = meter.create_up_down_counter("active")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())

    def answer(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            connection.settimeout(0.1)
            while not stopping.is_set():
                try:
                    client = connection.recv(1)
                except TimeoutError:
                    continue
                if not client:
                    return
                active.add(1)
                requests.add(1, {"client": client.decode()})
                seconds.record(client[0] % 4 / 4)
                active.add(-1)
                connection.sendall(client)

    listener.settimeout(0.1)
    threads: list[threading.Thread] = []
    while not stopping.is_set():
        with suppress(TimeoutError):
            thread = threading.Thread(target=answer, args=(listener.accept()[0],))
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join(20)
    provider.shutdown()


def ask(address: str, report: Path) -> None:
    """Send requests until SIGTERM; then write how many were answered and how many cut off."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    found = Counter[str]()
    while not stopping.is_set():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(address)
            for _ in range(2000):
                if stopping.is_set():
                    break
                try:
                    connection.sendall(report.name.encode())
                except ConnectionError:
                    found["cut off"] += 1
                    break
                try:
                    answered = connection.recv(1) != b""
                except ConnectionError:
                    answered = False
                found["answered" if answered else "cut off"] += 1
                if not answered:
                    break
    report.write_text(json.dumps(found))


def scrape(directory: str, report: Path) -> None:
    """Scrape until SIGTERM, then write how often; AssertionError if anything monotonic ever decreases."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    provider = MeterProvider(directory=directory)
    before: Series = {}
    scrapes = 0
    while not stopping.wait(SCRAPE_SECONDS):
        series = scraped(provider)
        for key, value in before.items():
            if key[0].endswith(_MONOTONIC):
                assert series.get(key, -1.0) >= value, f"{key} was {value} and is {series.get(key)}"
        before = series
        scrapes += 1
    report.write_text(json.dumps(scrapes))


class Service:
    """The processes."""

    def __init__(self, directory: str, work: Path) -> None:
        self.directory = directory
        self.work = work
        self.address = str(work / "socket")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.address)
        self.listener.listen(64)
        self.workers: list[int] = []

    def add(self) -> None:
        """Add a worker."""
        self.workers.append(forked(lambda: serve(self.listener, self.directory)))

    def start(self, body: Callable[[Path], None], name: str) -> tuple[int, Path]:
        """Start a process that writes a report when it is asked to end."""
        report = self.work / name
        return forked(lambda: body(report)), report

    def change(self, instants: random.Random) -> str:
        """Kill, recycle or add a worker, and return which."""
        what = instants.choice(("killed", "killed", "recycled", "added"))
        if what == "added" and len(self.workers) < MOST_WORKERS:
            self.add()
            return what
        worker = self.workers.pop(instants.randrange(len(self.workers)))
        what = "killed" if what == "added" else what
        os.kill(worker, signal.SIGKILL if what == "killed" else signal.SIGTERM)
        status = ended(worker)
        # SIGTERM kills one that has not come to its handler yet.
        assert status in (0, -signal.SIGKILL, -signal.SIGTERM), f"a worker ended with {status}"
        while len(self.workers) < 2:
            self.add()
        return what


def end(pid: int) -> None:
    """Ask a process to end, and see that nothing had failed there."""
    os.kill(pid, signal.SIGTERM)
    status = ended(pid)
    assert status == 0, f"a process ended with {status}"


def main(directory: str, seconds: str, seed: str) -> None:
    """Run for so many seconds."""
    instants = random.Random(seed)  # noqa: S311 - any instant will do
    service = Service(directory, Path(directory).parent)
    for _ in range(3):
        service.add()
    scraper, scrapes = service.start(partial(scrape, directory), "scrapes")
    clients = [service.start(partial(ask, service.address), name) for name in CLIENTS]
    changes = Counter[str]()
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        time.sleep(instants.uniform(0.05, 0.3))
        changes[service.change(instants)] += 1
    for pid, _ in clients:
        end(pid)
    for worker in service.workers:
        end(worker)
    end(scraper)
    provider = MeterProvider(directory=directory)
    final = scraped(provider)
    found = {
        "changes": changes,
        "scrapes": json.loads(scrapes.read_text()),
        "clients": {report.name: json.loads(report.read_text()) for _, report in clients},
        "requests": {
            dict(labels)["client"]: value
            for (name, labels), value in final.items()
            if name == "requests_total"
        },
        "count": final["seconds_count", frozenset()],
        "sum": final["seconds_sum", frozenset()],
        "active": [value for (name, _), value in final.items() if name == "active"],
        "segments": len(list(Path(directory).glob("*.segment"))),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
