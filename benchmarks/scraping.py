"""What a scrape costs: four workers with the same series, every one of which changes before each scrape."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks import shapes
from benchmarks.results import Row, row
from benchmarks.subject import Answer, Subject

SMALL, LARGE = 10_000, 100_000
ROUNDS = 5
SMALL_SCRAPES = 3
WORKERS = 4
OTEL, PROMETHEUS = "opentelemetry's exporter, 1 process", "prometheus_client, multiprocess"


def rows() -> list[Row]:
    """Measure both sizes of ours and of the peers, by turns."""
    with ExitStack() as stack:
        small, large = (_Fleets(stack, series) for series in (SMALL, LARGE))
        for _ in range(ROUNDS):
            for _ in range(SMALL_SCRAPES):
                small.scrape()
            large.scrape()
    growth = {**large.measured, "ours, 10,000 series": small.measured["ours"][::SMALL_SCRAPES]}
    return [
        row(
            f"scrape of the same {SMALL:,} series in each of {WORKERS} workers",
            "ms",
            small.measured,
            {OTEL: 0.05, PROMETHEUS: 0.05},
        ),
        row(f"the same, {LARGE:,} series", "ms", growth, {"ours, 10,000 series": 15, OTEL: None, PROMETHEUS: None}),
    ]


class _Fleets:
    """The workers of every subject, each with the same series."""

    def __init__(self, stack: ExitStack, series: int) -> None:
        ours = stack.enter_context(tempfile.TemporaryDirectory(dir=shapes.MEMORY))
        files = stack.enter_context(tempfile.TemporaryDirectory(dir=shapes.MEMORY))
        environment = {"PROMETHEUS_MULTIPROC_DIR": files}

        def start(factory: str, *arguments: Any) -> Subject:
            return stack.enter_context(
                Subject(f"{__name__}:{factory}", series, *arguments, environment=environment)
            )

        self._series = series
        self._workers = {
            "ours": [start("ours", ours) for _ in range(WORKERS)],
            OTEL: [start("official")],
            PROMETHEUS: [start("prometheus") for _ in range(WORKERS)],
        }
        self._changes = 0
        self.measured: dict[str, list[float]] = {name: [] for name in self._workers}
        self.scrape(is_first=True)

    def scrape(self, *, is_first: bool = False) -> None:
        """Change every series of every worker, then scrape one worker; the first time does not count."""
        self._changes += 1
        for name, workers in self._workers.items():
            for worker in workers:
                worker.tell("change")
            for worker in workers:
                worker.hear()
            milliseconds, found = workers[0].ask("scrape")
            expected = [self._series, self._series * len(workers) * self._changes]
            assert found == expected, f"{name} shows {found} instead of {expected}"
            if not is_first:
                self.measured[name].append(milliseconds)


def ours(series: int, directory: str) -> Mapping[str, Answer]:
    """Return a worker of ours, scraped through its ASGI endpoint."""
    from telemetry.exposition import MetricsEndpoint  # noqa: PLC0415 - imported in the process that uses it

    provider = shapes.our_provider(directory)
    endpoint = MetricsEndpoint(provider)
    loop = asyncio.new_event_loop()

    def close() -> None:
        loop.close()
        provider.shutdown()

    return {
        "change": shapes.recorder(provider, series),
        "scrape": _timed(lambda: loop.run_until_complete(shapes.scrape(endpoint))),
        "close": close,
    }


def official(series: int) -> Mapping[str, Answer]:
    """Return the one process of the official SDK."""
    provider, render = shapes.official_provider()
    return {"change": shapes.recorder(provider, series), "scrape": _timed(render)}


def prometheus(series: int) -> Mapping[str, Answer]:
    """Return a worker of prometheus_client."""
    return {
        "change": shapes.prometheus_recorder(series),
        "scrape": _timed(shapes.prometheus_multiprocess_scrape),
    }


def _timed(scrape: Callable[[], bytes]) -> Answer:
    """Return what scrapes, and answers with the milliseconds, how many series there were, and their sum."""

    def measure() -> tuple[float, list[float]]:
        started = time.perf_counter()
        body = scrape()
        milliseconds = (time.perf_counter() - started) * 1000
        lines = [line for line in body.splitlines() if line.startswith(b"requests_total{")]
        return milliseconds, [len(lines), sum(float(line.rpartition(b" ")[2]) for line in lines)]

    return measure
