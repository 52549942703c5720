"""HTTP measurements: what is counted, when, and that nothing else changes."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Router

from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings
from tests.telemetry.scraping import nonzero, scrape, total, value

Message = dict[str, Any]


def build(pipeline: Pipeline | None) -> FastAPI:
    """Return an application with every kind of route, measured if a pipeline is given."""
    items = APIRouter(prefix="/items")

    @items.get("/{item}")
    async def item(item: int) -> int:
        return item

    group = APIRouter(prefix="/group")
    group.include_router(items, prefix="/inner")
    sub = FastAPI()
    sub.include_router(items)
    app = FastAPI()
    app.include_router(group, prefix="/api")
    app.include_router(items, prefix="/tenant/{tenant}")
    app.mount("/sub", sub)
    app.mount("/tenants/{tenant}", sub)
    app.router.routes.append(Mount("/files", PlainTextResponse("file")))
    app.router.routes.append(Mount("/nested", Router([Mount("/deep", sub)])))

    @app.get("/stream/{n}")
    async def stream(n: int) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for part in range(n):
                yield f"{part}\n"

        return StreamingResponse(parts(), media_type="application/x-ndjson")

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            while True:
                yield "tick\n"
                await asyncio.sleep(0.001)

        return StreamingResponse(parts())

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("boom")

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "begun"
            raise RuntimeError("half")

        return StreamingResponse(parts())

    @app.get("/gone")
    async def gone() -> None:
        raise HTTPException(410)

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    for path in ("/metrics", "/healthz", "/readyz"):
        app.add_api_route(path, lambda: "ok")
    if pipeline:
        pipeline.instrument_app(app)
        pipeline.instrument_app(app)
    return app


async def talk(
    app: FastAPI, path: str, method: str = "GET", *, stop_after: int | None = None
) -> list[Message]:
    """Send one request and return the messages; the client may go away after some of them."""
    sent: list[Message] = []
    gone = asyncio.Event()
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if stop_after is not None and len(sent) >= stop_after:
            gone.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"q=1",
        "root_path": "",
        "headers": [(b"host", b"attacker.example")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)  # type: ignore[arg-type] # plain dictionaries serve
    return sent


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/group/inner/items/3", ("GET", "/api/group/inner/items/{item}", "200")),
        ("GET", "/tenant/acme/items/3", ("GET", "/tenant/{tenant}/items/{item}", "200")),
        ("GET", "/sub/items/4", ("GET", "/sub/items/{item}", "200")),
        ("GET", "/tenants/acme/items/4", ("GET", "/tenants/{tenant}/items/{item}", "200")),
        ("GET", "/nested/deep/items/4", ("GET", "/nested/deep/items/{item}", "200")),
        ("GET", "/files/a/b", ("GET", "/files/{path}", "200")),
        ("GET", "/sub/absent/7", ("GET", "/sub/{path}", "404")),
        ("GET", "/stream/3", ("GET", "/stream/{n}", "200")),
        ("GET", "/stream/x", ("GET", "/stream/{n}", "422")),
        ("GET", "/gone", ("GET", "/gone", "410")),
        ("POST", "/gone", ("POST", "/gone", "405")),
        ("GET", "/absent/1234", ("GET", "unmatched", "404")),
        ("BREW", "/absent", ("_OTHER", "unmatched", "404")),
    ],
)
async def test_a_request_counts_once_under_its_template(
    pipeline: Pipeline, method: str, path: str, expected: tuple[str, str, str]
) -> None:
    """Method, route template and status come out; never a raw path, nor a method that a caller made up."""
    await talk(build(pipeline), path, method)
    labels = dict(zip(("method", "endpoint", "status_code"), expected, strict=True))
    series = scrape(pipeline)
    assert nonzero(series) == {("aoss_api_requests_total", frozenset(labels.items())): 1.0}
    assert total(series, "http_server_request_duration_seconds_count") == 1.0


async def test_standard_http_metrics_have_stable_names_and_no_host(pipeline: Pipeline) -> None:
    """The stable names come out, none of the old ones, and nothing that the client sent becomes a label."""
    app = build(pipeline)
    await talk(app, "/api/group/inner/items/3")
    await talk(app, "/stream/3")
    series = scrape(pipeline)
    names = {name for name, _ in series if name.startswith("http_")}
    assert names == {
        "http_server_active_requests",
        "http_server_request_duration_seconds_bucket",
        "http_server_request_duration_seconds_count",
        "http_server_request_duration_seconds_sum",
    }
    assert "attacker" not in str(series)
    assert total(series, "http_server_active_requests") == 0.0
    route = "/api/group/inner/items/{item}"
    assert total(series, "http_server_request_duration_seconds_count", http_route=route) == 1.0


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_scrapes_and_probes_are_not_counted(pipeline: Pipeline, path: str) -> None:
    """Neither instrument sees the endpoints that machines poll."""
    await talk(build(pipeline), path)
    series = scrape(pipeline)
    assert total(series, "aoss_api_requests_total") == 0.0
    assert total(series, "http_server_request_duration_seconds_count") == 0.0


async def test_a_request_is_counted_before_its_last_part_is_sent(pipeline: Pipeline) -> None:
    """A client that has read its whole answer finds the request in the next scrape, not one before."""
    counts: list[float] = []
    app = build(pipeline)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    async def send(_: Message) -> None:
        counts.append(total(scrape(pipeline), "aoss_api_requests_total"))

    request = httpx.Request("GET", "http://x/stream/2")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/stream/2",
        "raw_path": b"/stream/2",
        "query_string": b"",
        "headers": request.headers.raw,
        "asgi": {"spec_version": "2.4", "version": "3.0"},
        "http_version": "1.1",
    }
    await app(scope, receive, send)  # type: ignore[arg-type] # plain dictionaries serve
    assert counts == [0.0, 0.0, 0.0, 1.0]


async def test_an_exception_before_any_response_is_a_500(pipeline: Pipeline) -> None:
    """An unhandled exception counts as the 500 that the server sends, and still reaches the server."""
    with pytest.raises(RuntimeError, match="boom"):
        await talk(build(pipeline), "/boom")
    labels = {"method": "GET", "endpoint": "/boom", "status_code": "500"}
    assert value(scrape(pipeline), "aoss_api_requests_total", **labels) == 1.0


async def test_an_exception_in_a_stream_counts_what_was_sent(pipeline: Pipeline) -> None:
    """A response that broke after its start counts once, under the status that the client saw."""
    with pytest.raises(RuntimeError, match="half"):
        await talk(build(pipeline), "/half")
    labels = {"method": "GET", "endpoint": "/half", "status_code": "200"}
    assert value(scrape(pipeline), "aoss_api_requests_total", **labels) == 1.0


@pytest.mark.parametrize("stop_after", [1, 2, 5])
async def test_a_client_that_goes_away_counts_once(pipeline: Pipeline, stop_after: int) -> None:
    """A disconnect at any point of a stream ends it, counts once and leaves no request active."""
    async with asyncio.timeout(30):
        await talk(build(pipeline), "/endless", stop_after=stop_after)
    labels = {"method": "GET", "endpoint": "/endless", "status_code": "200"}
    series = scrape(pipeline)
    assert value(series, "aoss_api_requests_total", **labels) == 1.0
    assert total(series, "http_server_active_requests") == 0.0


async def test_measuring_changes_no_message(pipeline: Pipeline) -> None:
    """Every message that leaves a measured application is the one that leaves it unmeasured."""
    plain, measured = build(None), build(pipeline)
    for path in ("/stream/3", "/gone", "/absent", "/files/x", "/sub/items/1"):
        assert await talk(measured, path) == await talk(plain, path)


async def test_a_disabled_pipeline_leaves_the_application_alone() -> None:
    """With the SDK disabled nothing is put around the application."""
    disabled = Pipeline.start(TelemetrySettings(disabled=True))
    app = build(disabled)
    assert app.user_middleware == []
    assert (await talk(app, "/gone"))[0]["status"] == 410
    disabled.shutdown()


async def test_websockets_pass_untouched(pipeline: Pipeline) -> None:
    """A websocket works and is not counted as a request."""
    messages = iter([{"type": "websocket.connect"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": [], "subprotocols": []}
    await build(pipeline)(scope, receive, send)  # type: ignore[arg-type] # plain dictionaries serve
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert total(scrape(pipeline), "aoss_api_requests_total") == 0.0


SUB_APPLICATION = """
import asyncio
from fastapi import FastAPI
from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings
from tests.telemetry.scraping import scrape, total
from tests.telemetry.test_asgi import build, talk

pipeline = Pipeline.start(TelemetrySettings())
app = build(pipeline)
asyncio.run(talk(app, "/sub/items/1"))
asyncio.run(talk(app, "/sized"))
asyncio.run(talk(app, "/stream/2"))
series = scrape(pipeline)
print(total(series, "http_server_request_duration_seconds_count"))
print(total(series, "http_server_response_body_size_bytes_count"))
"""


def test_the_global_provider_doubles_nothing() -> None:
    """In a fresh process, where the pipeline is the global one, FastAPI's own metrics do not join ours."""
    result = subprocess.run(
        [sys.executable, "-c", SUB_APPLICATION], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["3", "0"]
