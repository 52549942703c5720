"""The endpoint over ASGI: negotiation, methods, token, gzip, filter, shared merges, fairness."""

import asyncio
import gzip
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.resources import Resource
from starlette.applications import Starlette
from starlette.routing import Route

from telemetry.exposition import MetricsEndpoint, sharing, text
from telemetry.exposition.endpoint import Message
from telemetry.exposition.negotiation import DEFAULT
from telemetry.sdk.merged import DataKind, Merged
from tests.telemetry.exposition.sources import (
    OPENMETRICS,
    FixedSource,
    histogram,
    merged,
    parsed,
    samples,
    stream,
)

RESOURCE = Resource({"service.name": "x"})
OPENMETRICS_ACCEPTED = {"accept": "application/openmetrics-text;version=1.0.0"}


def everything(count: int = 3) -> Merged:
    """Return a merge with a counter, a gauge and a histogram of `count` series each."""
    labels = [{"k": str(number)} for number in range(count)]
    return merged(
        stream("requests", [(each, 1) for each in labels]),
        stream("level", [(each, 1.5) for each in labels], kind=DataKind.GAUGE),
        stream(
            "latency",
            [(each, histogram([1, 2], 2.5)) for each in labels],
            kind=DataKind.HISTOGRAM,
            bounds=(1.0,),
        ),
        resource=RESOURCE,
    )


def client(app: object) -> httpx.AsyncClient:
    """Return a client of an ASGI application that follows no redirect and asks for no compression."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),  # type: ignore[arg-type] # an ASGI application
        base_url="http://test",
        headers={"accept-encoding": "identity"},
        timeout=30,
    )


async def test_a_scrape_without_accept_header() -> None:
    """Items 22, 24: without an Accept header the text is 0.0.4, with its length."""
    source = FixedSource(everything())
    async with client(MetricsEndpoint(source)) as http:
        del http.headers["accept"]
        response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert str(len(response.content)) == response.headers["content-length"]
    assert response.text.startswith("# HELP target_info Target metadata\n")
    assert 1 == source.observations == source.merges


async def test_openmetrics_by_negotiation() -> None:
    """Items 24, 25, 31: who prefers OpenMetrics and UTF-8 gets them, and the Content-Type says so."""
    async with client(MetricsEndpoint(FixedSource(everything()), utf8_names=True)) as http:
        response = await http.get(
            "/", headers={"accept": f"{OPENMETRICS_ACCEPTED['accept']};escaping=allow-utf-8"}
        )
    assert OPENMETRICS.content_type.replace("underscores", "allow-utf-8") == response.headers["content-type"]
    assert {"target", "requests", "level", "latency"} == set(samples(parsed(response.text)))


async def test_head_and_other_methods() -> None:
    """HEAD answers without a body and without a merge; other methods are refused."""
    source = FixedSource(everything())
    async with client(MetricsEndpoint(source)) as http:
        head = await http.head("/metrics")
        assert (head.status_code, head.content) == (200, b"")
        assert source.merges == 0
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            refused = await http.request(method, "/metrics")
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_gzip_on_request() -> None:
    """The text is compressed only where that is asked for, and is the same."""
    async with client(MetricsEndpoint(FixedSource(everything(500)))) as http:
        plain = await http.get("/metrics")
        async with http.stream("GET", "/metrics", headers={"accept-encoding": "gzip"}) as response:
            packed = b"".join([part async for part in response.aiter_raw()])
    assert "content-encoding" not in plain.headers
    assert response.headers["content-encoding"] == "gzip"
    assert str(len(packed)) == response.headers["content-length"]
    assert plain.content == gzip.decompress(packed)
    assert len(packed) * 4 < len(plain.content)
    assert response.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"name[]": "requests_total"}, {"requests"}),
        ({"name[]": ["level", "latency_count"]}, {"level", "latency"}),
        ({"name[]": "target_info"}, {"target"}),
        ({"name[]": "unknown"}, set()),
        ({"other": "x"}, {"target", "requests", "level", "latency"}),
    ],
)
async def test_the_name_filter(query: dict[str, str | list[str]], expected: set[str]) -> None:
    """name[] selects families by their own name or that of a sample."""
    async with client(MetricsEndpoint(FixedSource(everything()))) as http:
        response = await http.get("/metrics", params=query, headers=OPENMETRICS_ACCEPTED)
    assert expected == set(samples(parsed(response.text)))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Basic secret", 401),
        ("Bearer secre\u00e9".encode("latin-1"), 401),
        ("Bearer secret", 200),
        ("bearer  secret", 200),
    ],
)
async def test_the_bearer_token(header: str | bytes | None, status: int) -> None:
    """Only who has the token reads; others are told so, whatever the method, and nothing is merged."""
    source = FixedSource(everything())
    async with client(MetricsEndpoint(source, bearer_token="secret")) as http:
        headers = {} if header is None else {"authorization": header}
        for method in ("GET", "POST") if status == 401 else ("GET",):
            response = await http.request(method, "/metrics", headers=headers)  # type: ignore[arg-type] # bytes are a header too
            assert status == response.status_code
            assert ("Bearer" if status == 401 else None) == response.headers.get("www-authenticate")
    assert (status == 200) is (source.merges == 1)


def test_an_empty_token_is_refused() -> None:
    """A token that was meant to be set and is not would let everyone in."""
    with pytest.raises(ValueError, match="bearer_token"):
        MetricsEndpoint(FixedSource(everything()), bearer_token=" ")


@pytest.mark.parametrize("application", [Starlette, FastAPI])
async def test_mounting(application: type[Starlette]) -> None:
    """Mounted in two lines; as routes it answers with and without the slash, never with a redirect."""
    endpoint = MetricsEndpoint(FixedSource(everything()))
    mounted = application()
    mounted.mount("/metrics", endpoint)
    routed = application()
    routed.router.routes += [Route(path, endpoint) for path in ("/metrics", "/metrics/")]
    async with client(mounted) as http:
        assert (await http.get("/metrics/")).status_code == 200
        assert (await http.get("/metrics", follow_redirects=True)).status_code == 200
    async with client(routed) as http:
        for path in ("/metrics", "/metrics/"):
            assert (await http.get(path)).status_code == 200
            assert (await http.post(path)).status_code == 405


async def test_a_websocket_is_closed() -> None:
    """A mounted endpoint is asked for websockets too, and closes them."""
    sent = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await MetricsEndpoint(FixedSource(everything()))({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


class SlowSource(FixedSource):
    """A provider whose merges take as many turns of the loop as the test lets them."""

    def __init__(self) -> None:
        super().__init__(everything())
        self.go_on = False
        self.active = 0
        self.most_active = 0

    def merge(self) -> Generator[None, None, Merged]:
        """Yield until told to go on."""
        self.merges += 1
        self.active += 1
        self.most_active = max(self.active, self.most_active)
        while not self.go_on:
            yield
        self.active -= 1
        return everything(self.merges)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, 10 s at most."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


async def test_scrapes_share_a_merge_that_has_not_begun_to_read() -> None:
    """One merge runs; all scrapes that come meanwhile share the next one, and none shares the running one."""
    source = SlowSource()
    async with client(MetricsEndpoint(source)) as http:
        first = asyncio.create_task(http.get("/metrics"))
        await until(lambda: source.merges == 1)
        others = [asyncio.create_task(http.get("/metrics")) for _ in range(10)]
        await asyncio.sleep(0.05)
        assert source.merges == 1
        source.go_on = True
        counts = [(await each).text.count("requests_total{") for each in (first, *others)]
    assert [1, *[2] * 10] == counts
    assert source.merges == 2
    assert source.most_active == 1


async def test_a_scraper_that_goes_away_takes_nothing_with_it() -> None:
    """A cancelled scrape neither stops the merge that others wait for nor blocks the next."""
    source = SlowSource()
    async with client(MetricsEndpoint(source)) as http:
        gone, waiting = (asyncio.create_task(http.get("/metrics")) for _ in range(2))
        await until(lambda: source.merges == 1)
        gone.cancel()
        source.go_on = True
        assert (await waiting).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
    assert gone.cancelled()
    assert source.merges == 2


class BrokenSource(FixedSource):
    """A provider that fails once."""

    def merge(self) -> Generator[None, None, Merged]:
        """Fail at the first call."""
        if not self.merges:
            self.merges += 1
            raise OSError("no such directory")
        return super().merge()


async def test_a_merge_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A failure inside is a 500 and in the log, never an exception; the next scrape works."""
    async with client(MetricsEndpoint(BrokenSource(everything()))) as http:
        response = await http.get("/metrics")
        assert (
            response.status_code,
            response.text,
        ) == (500, "The metrics cannot be read; the log says why.\n")
        assert (await http.get("/metrics")).status_code == 200
    assert caplog.messages == ["a scrape failed"]


class HangingSource(FixedSource):
    """A provider whose callbacks hang until the test ends."""

    def __init__(self) -> None:
        super().__init__(everything())
        self.end = threading.Event()

    def observe(self) -> None:
        """Hang."""
        super().observe()
        self.end.wait(30)


async def test_callbacks_that_hang(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The scrape goes on without them, and no second thread is lost to them; that is logged once."""
    monkeypatch.setattr(sharing, "OBSERVE_SECONDS", 0.05)
    source = HangingSource()
    async with client(MetricsEndpoint(source)) as http:
        try:
            assert [(await http.get("/metrics")).status_code for _ in range(3)] == [200] * 3
        finally:
            source.end.set()
        assert source.observations == 1
    assert caplog.messages == [
        "callbacks of observable instruments are slow; the scrape goes on without them"
    ]


class RaisingSource(FixedSource):
    """A provider whose callbacks raise."""

    def observe(self) -> None:
        """Raise."""
        raise RuntimeError("a callback's own trouble")


async def test_callbacks_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    """The scrape goes on without them, and that is logged once with its reason."""
    async with client(MetricsEndpoint(RaisingSource(everything()))) as http:
        assert [(await http.get("/metrics")).status_code for _ in range(3)] == [200] * 3
    assert caplog.messages == ["callbacks of observable instruments failed; the scrape goes on"]
    assert "a callback's own trouble" in caplog.text


async def turns_during(work: Awaitable[object]) -> int:
    """Return how often another task got its turn while the work was done."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await work
    counting.cancel()
    return turns


async def test_other_tasks_run_during_a_merge() -> None:
    """Between the slices of a merge the loop does other things."""
    endpoint = MetricsEndpoint(FixedSource(everything(1), slices=200))
    async with client(endpoint) as http:
        assert await turns_during(http.get("/metrics")) >= 200


async def test_other_tasks_run_during_the_rendering() -> None:
    """Between slices of 512 lines the loop does other things, also where all label text is new."""
    state = MetricsEndpoint(FixedSource(everything(5_000)))._on_loop()
    lines = 5_000 * 6
    # The text of 128 new series is a slice.
    assert await turns_during(state.parts(DEFAULT, frozenset())) >= 15_000 // 128
    assert await turns_during(state.parts(DEFAULT, frozenset())) >= lines // 1024


async def test_other_tasks_run_while_the_text_is_sent() -> None:
    """A server that takes every part at once does not hold the loop until the last."""
    endpoint = MetricsEndpoint(FixedSource(everything(5_000)))
    parts, turns = 0, 0

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        nonlocal parts
        parts += message["type"] == "http.response.body"
        if parts == 1:
            counting.append(asyncio.create_task(count()))

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting: list[asyncio.Task[None]] = []
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    await endpoint(scope, receive, send)
    for each in counting:
        each.cancel()
    assert parts > 20
    assert turns >= parts - 3


async def test_a_scrape_keeps_what_its_merge_saw() -> None:
    """A provider may put the next merge's values into the same streams; the scrape before shows its own."""
    source = FixedSource(everything())
    merges = sharing.SharedMerge(source)
    first = await merges.merged()
    source.merged.streams[0].values = [2, 2, 2]
    second = await merges.merged()
    assert [first.streams[0].values, second.streams[0].values] == [[1, 1, 1], [2, 2, 2]]
    assert first.streams[0].attributes is second.streams[0].attributes


async def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    """While one client takes nothing, others are answered."""
    endpoint = MetricsEndpoint(FixedSource(everything(2000)))
    stuck = asyncio.Event()

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            stuck.set()
            await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    slow = asyncio.create_task(endpoint(scope, receive, send))
    await stuck.wait()
    async with client(endpoint) as http, asyncio.timeout(20):
        assert [(await http.get("/metrics")).status_code for _ in range(3)] == [200] * 3
    assert not slow.done()
    slow.cancel()


def test_one_endpoint_on_several_loops() -> None:
    """An endpoint outlives the loop that it was first asked on, and keeps nothing of a closed one."""
    endpoint = MetricsEndpoint(FixedSource(everything()))

    async def scrape() -> int:
        async with client(endpoint) as http:
            responses = await asyncio.gather(*(http.get("/metrics") for _ in range(5)))
            return sum(response.status_code for response in responses)

    assert [asyncio.run(scrape()) for _ in range(3)] == [1000] * 3
    assert len(endpoint._loops) == 1


async def test_text_is_kept_for_two_formats() -> None:
    """Whoever asks for many formats one after the other does not make the process keep text of all."""
    endpoint = MetricsEndpoint(FixedSource(everything()), utf8_names=True)
    async with client(endpoint) as http:
        for escaping in ("underscores", "dots", "values", "allow-utf-8"):
            accept = f"{OPENMETRICS_ACCEPTED['accept']};escaping={escaping}"
            for _ in range(2):
                assert parsed((await http.get("/metrics", headers={"accept": accept})).text)
    (state,) = endpoint._loops.values()
    assert len(state._renderers) == 2


async def test_label_text_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next scrape makes text of new series only, and of target_info."""
    source = FixedSource(everything(50))
    made = []
    labels = text.labels

    def counted(*args: Any, **names: Any) -> str:
        made.append(args)
        return labels(*args, **names)

    monkeypatch.setattr(text, "labels", counted)
    async with client(MetricsEndpoint(source)) as http:
        counts = []
        for added in (0, 0, 2):
            counter = source.merged.streams[0]
            assert isinstance(counter.attributes, list)
            counter.attributes += [{"k": f"new{number}"} for number in range(added)]
            counter.starts = [0] * len(counter.attributes)
            counter.values = [1] * len(counter.attributes)
            made.clear()
            await http.get("/metrics")
            counts.append(len(made))
    assert counts == [151, 1, 3]
