"""What a scrape costs: four workers with the same series, every one of which changes before each scrape."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from benchmarks import shapes
from benchmarks.results import Row, row
from benchmarks.subject import Answer, Subject

SMALL, LARGE = 10_000, 100_000
ROUNDS = 11
LARGE_PEER_ROUNDS = 3
WORKERS = 4
OTEL, PROMETHEUS = "opentelemetry's exporter, 1 process", "prometheus_client, multiprocess"


def rows() -> list[Row]:
    """Measure both sizes of ours and of the peers, by turns."""
    subjects = {"ours": ("ours", WORKERS), OTEL: ("official", 1), PROMETHEUS: ("prometheus", WORKERS)}
    small: dict[str, list[float]] = {name: [] for name in subjects}
    large: dict[str, list[float]] = {name: [] for name in subjects}
    with ExitStack() as stack:
        fleets = {
            (name, series): Fleet(stack, kind, series, workers)
            for name, (kind, workers) in subjects.items()
            for series in (SMALL, LARGE)
        }
        for fleet in fleets.values():
            fleet.scrape()  # the first does not count
        for number in range(ROUNDS):
            for name in subjects:
                small[name].append(fleets[name, SMALL].scrape())
                if name == "ours" or number < LARGE_PEER_ROUNDS:
                    large[name].append(fleets[name, LARGE].scrape())
    ten_thousand = f"ours, {SMALL:,} series"
    return [
        row(
            f"scrape of the same {SMALL:,} series in each of {WORKERS} workers",
            "ms",
            small,
            {OTEL: 0.05, PROMETHEUS: 0.05},
        ),
        row(
            f"the same, {LARGE:,} series",
            "ms",
            {**large, ten_thousand: small["ours"]},
            {ten_thousand: 15, OTEL: None, PROMETHEUS: None},
        ),
    ]


class Fleet:
    """Workers of one kind, each with the same series; every scrape is checked against what they counted."""

    def __init__(self, stack: ExitStack, kind: str, series: int, workers: int) -> None:
        self.directory = stack.enter_context(tempfile.TemporaryDirectory(dir=shapes.MEMORY))
        self.environment = {"PROMETHEUS_MULTIPROC_DIR": self.directory} if kind == "prometheus" else {}
        self._series = series
        self._workers = [
            stack.enter_context(
                Subject(f"{__name__}:{kind}", series, self.directory, environment=self.environment)
            )
            for _ in range(workers)
        ]
        self._expected = 0

    def scrape(self) -> float:
        """Change every series of every worker, scrape the first worker, and return its milliseconds."""
        for worker in self._workers:
            worker.tell("change")
        for worker in self._workers:
            worker.hear()
        self._expected += self._series * len(self._workers)
        milliseconds, *found = self._workers[0].ask("scrape")
        expected = [self._series, self._expected]
        assert found == expected, f"the scrape has {found}, not {expected} (series, sum)"
        return float(milliseconds)

    def add_outside(self, amount: int) -> None:
        """Note that other processes counted, too."""
        self._expected += amount


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


def official(series: int, _: str) -> Mapping[str, Answer]:
    """Return the one process of the official SDK."""
    provider, render = shapes.official_provider()
    return {"change": shapes.recorder(provider, series), "scrape": _timed(render)}


def prometheus(series: int, _: str) -> Mapping[str, Answer]:
    """Return a worker of prometheus_client."""
    return {
        "change": shapes.prometheus_recorder(series),
        "scrape": _timed(shapes.prometheus_multiprocess_scrape),
    }


def _timed(scrape: Callable[[], bytes]) -> Answer:
    """Return what scrapes, and answers with the milliseconds, how many series there were, and their sum."""

    def measure() -> tuple[float, int, float]:
        started = time.perf_counter()
        body = scrape()
        milliseconds = (time.perf_counter() - started) * 1000
        lines = [line for line in body.splitlines() if line.startswith(b"requests_total{")]
        return milliseconds, len(lines), sum(float(line.rpartition(b" ")[2]) for line in lines)

    return measure
