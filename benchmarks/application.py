"""What measuring costs a request of a FastAPI application, called in process, without a network."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI
from opentelemetry.metrics import set_meter_provider

from benchmarks import shapes
from benchmarks.results import Row, row
from benchmarks.subject import Answer, Subject

GENERATIONS = 2
ROUNDS = 20
REQUESTS = 100
MOST_MICROSECONDS = 60.0

OFFICIAL, INSTRUMENTATOR = "official instrumentation and SDK", "prometheus-fastapi-instrumentator"
BY_INSTRUMENTATION, BY_FASTAPI = (
    "ours with the official instrumentation",
    "FastAPI's own and the official SDK",
)


def rows() -> list[Row]:
    """Measure the bare application and each measured one by turns, and take the differences."""
    measured: dict[str, list[float]] = {}
    makers = {
        "bare": "bare",
        "ours": "ours",
        OFFICIAL: "official",
        BY_FASTAPI: "official_by_fastapi",
        BY_INSTRUMENTATION: "ours_by_instrumentation",
    }
    if find_spec("prometheus_fastapi_instrumentator"):
        makers[INSTRUMENTATOR] = "instrumentator"
    for _ in range(GENERATIONS):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=shapes.MEMORY))
            subjects = {
                name: stack.enter_context(Subject(f"{__name__}:{maker}", f"{folder}/{maker}"))
                for name, maker in makers.items()
            }
            for _ in range(ROUNDS):
                took = {name: subject.ask("measure") for name, subject in subjects.items()}
                bare = took.pop("bare")
                for name, microseconds in took.items():
                    measured.setdefault(name, []).append(microseconds - bare)
    return [
        row(
            "FastAPI request, beyond the bare application",
            "µs",
            measured,
            {OFFICIAL: 0.4, INSTRUMENTATOR: None, BY_FASTAPI: None, BY_INSTRUMENTATION: None},
            or_at_most=MOST_MICROSECONDS,
        )
    ]


def bare(_: str) -> Mapping[str, Answer]:
    """Return an application that measures nothing."""
    return _subject(_application(), lambda: None)


def ours(directory: str) -> Mapping[str, Answer]:
    """Return one measured as the README shows: FastAPI measures itself once there is a provider."""
    from telemetry.exposition import MetricsEndpoint  # noqa: PLC0415 - imported in the process that uses it

    app = _application()
    provider = shapes.our_provider(directory)
    set_meter_provider(provider)
    app.mount("/metrics", MetricsEndpoint(provider))
    return _subject(app, provider.shutdown)


def official(_: str) -> Mapping[str, Answer]:
    """Return one measured by the official instrumentation, with the official SDK and exporter."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415 - as above

    provider, _render = shapes.official_provider()
    app = _application()
    FastAPIInstrumentor.instrument_app(app, meter_provider=provider)
    return _subject(app, provider.shutdown)


def official_by_fastapi(_: str) -> Mapping[str, Answer]:
    """Return one measured by FastAPI itself, with the official SDK and exporter."""
    provider, _render = shapes.official_provider()
    set_meter_provider(provider)
    return _subject(_application(), provider.shutdown)


def ours_by_instrumentation(directory: str) -> Mapping[str, Answer]:
    """Return one measured by the official instrumentation, with our provider."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415 - as above

    provider = shapes.our_provider(directory)
    app = _application()
    FastAPIInstrumentor.instrument_app(app, meter_provider=provider)
    return _subject(app, provider.shutdown)


def instrumentator(_: str) -> Mapping[str, Answer]:
    """Return one measured by prometheus-fastapi-instrumentator."""
    from prometheus_fastapi_instrumentator import Instrumentator  # noqa: PLC0415 - as above

    app = _application()
    Instrumentator().instrument(app).expose(app)
    return _subject(app, lambda: None)


def _application() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item}")
    async def show(item: str) -> dict[str, str]:
        return {"item": item}

    return app


def _subject(app: Any, shut_down: Callable[[], object]) -> Mapping[str, Answer]:
    loop = asyncio.new_event_loop()
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def requests(number: int) -> float:
        started = time.perf_counter()
        for _ in range(number):
            await app(shapes.request("/items/7"), receive, send)
        return (time.perf_counter() - started) / number * 1e6

    def measure() -> float:
        statuses.clear()
        microseconds = loop.run_until_complete(requests(REQUESTS))
        assert statuses == [200] * REQUESTS
        return microseconds

    def close() -> None:
        loop.close()
        shut_down()

    measure()
    return {"measure": measure, "close": close}
