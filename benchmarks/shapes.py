"""Providers and registries with as many series as a benchmark asks for, ours and the peers'."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.view import View

MEMORY = "/dev/shm"  # noqa: S108 - fresh directories of ours are made in it
SERIES_LIMIT = 1 << 20
METHODS = 10


def attributes(number: int) -> dict[str, str]:
    """Return the attribute set of a series: an endpoint's method and route."""
    return {"method": f"M{number % METHODS}", "route": f"/items/{number // METHODS}"}


def unlimited() -> View:
    """Return a View that lets more than the default 2,000 attribute sets in."""
    return View(instrument_name="*", aggregation_cardinality_limit=SERIES_LIMIT)


def our_provider(directory: str) -> Any:
    """Return our provider over a directory."""
    from telemetry.sdk import MeterProvider  # noqa: PLC0415 - imported in the process that uses it

    return MeterProvider(directory=directory, views=[unlimited()])


def official_provider() -> tuple[Any, Callable[[], bytes]]:
    """Return the official provider and what renders its scrape."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 - as above
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - as above
    from prometheus_client import REGISTRY, generate_latest  # noqa: PLC0415 - as above

    provider = MeterProvider(metric_readers=[PrometheusMetricReader()], views=[unlimited()])
    return provider, lambda: generate_latest(REGISTRY)


def request(path: str) -> dict[str, Any]:
    """Return the scope of a GET request, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost:8000"), (b"accept", b"*/*"), (b"user-agent", b"benchmarks")],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
    }


async def scrape(endpoint: Any) -> bytes:
    """Call an ASGI endpoint as a server would, and return the body."""
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        parts.append(message.get("body", b""))

    await endpoint(request("/metrics"), receive, send)
    return b"".join(parts)


def instrument(provider: Any, kind: str) -> Callable[..., None]:
    """Make a counter or a histogram, and return what records with it."""
    meter = provider.get_meter("benchmarks")
    if kind == "histogram":
        made: Callable[..., None] = meter.create_histogram("duration", description="Duration.").record
    else:
        made = meter.create_counter("requests", description="Requests.").add
    return made


def recorder(provider: Any, series: int) -> Callable[[], None]:
    """Return what changes every series of a counter of a provider once."""
    record = instrument(provider, "counter")
    sets = [attributes(number) for number in range(series)]

    def change() -> None:
        for each in sets:
            record(1, each)

    return change


def prometheus_counter() -> Any:
    """Return a counter of prometheus_client in a registry of its own."""
    from prometheus_client import CollectorRegistry, Counter  # noqa: PLC0415 - as above

    return Counter("requests", "Requests.", ["method", "route"], registry=CollectorRegistry())


def prometheus_recorder(series: int) -> Callable[[], None]:
    """Return what changes every series of a counter of prometheus_client once."""
    counter = prometheus_counter()
    children = [counter.labels(**attributes(number)) for number in range(series)]

    def change() -> None:
        for child in children:
            child.inc()

    return change


def prometheus_multiprocess_scrape() -> bytes:
    """Merge and render the files of all processes, as its documentation shows."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - as above
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - as above

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # it has no annotations
    return generate_latest(registry)


def directory_bytes(directory: str) -> int:
    """Return the space that the files of a directory take."""
    return sum(path.stat().st_blocks * 512 for path in Path(directory).iterdir())
