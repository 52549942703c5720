"""The ASGI application that a Prometheus server scrapes.

Source: Prometheus metrics exporter, "Content Negotiation"; Prometheus documentation, "Exposition formats".
"""

import asyncio
import hmac
import logging
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from telemetry.exposition.families import Complaints
from telemetry.exposition.negotiation import Exposition, gzip_wanted, preferred
from telemetry.exposition.render import Renderer
from telemetry.exposition.sharing import SharedMerge, Source

_logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

GZIP_LEVEL = 1

# Each keeps text of every series; who alternates between more formats than these pays with time instead.
KEPT_EXPOSITIONS = 2

# With a gzip header.
_GZIP_WINDOW = zlib.MAX_WBITS | 16


class MetricsEndpoint:
    """Serve a provider's metrics to Prometheus, at whatever path it is mounted.

    `provider` has the methods of `Source`. With `bearer_token` only requests that carry it are answered.
    `scope_labels` adds the instrumentation scope to every series, `created_timestamps` `_created` lines to
    OpenMetrics, `utf8_names` serves names with dots to scrapers that allow them. A merge and its text are
    made in slices, and other requests get through in between.

    `app.mount("/metrics", MetricsEndpoint(provider))` answers `/metrics/`; Starlette redirects `/metrics`.
    Without a redirect: `app.router.routes += [Route(path, endpoint) for path in ("/metrics", "/metrics/")]`.
    """

    def __init__(
        self,
        provider: Source,
        *,
        bearer_token: str | None = None,
        scope_labels: bool = False,
        created_timestamps: bool = False,
        utf8_names: bool = False,
    ) -> None:
        self._provider = provider
        if bearer_token is not None and not bearer_token.strip():
            raise ValueError("bearer_token is empty: everyone would be let in")
        self._token = None if bearer_token is None else bearer_token.strip().encode()
        self._scope_labels = scope_labels
        self._created_timestamps = created_timestamps
        self._utf8_names = utf8_names
        self._complaints = Complaints()
        # Tasks and locks belong to a loop; text that is kept must not be written by two threads.
        self._loops: dict[asyncio.AbstractEventLoop, _OnLoop] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is refused."""
        del receive  # a scrape has no body
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            raise ValueError(f"a metrics endpoint has no {scope['type']}")
        if not self._may_read(_header(scope, b"authorization")):
            await _refuse(send, 401, b"A bearer token is needed.\n", (b"www-authenticate", b"Bearer"))
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, 405, b"Use GET or HEAD.\n", (b"allow", b"GET, HEAD"))
            return
        await self._answer(scope, send)

    def _may_read(self, authorization: str) -> bool:
        if self._token is None:
            return True
        scheme, _, token = authorization.partition(" ")
        # In constant time, so that a wrong token says nothing about how much of it was right.
        return scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode("latin-1"), self._token
        )

    async def _answer(self, scope: Scope, send: Send) -> None:
        exposition = preferred(_header(scope, b"accept"), utf8_names=self._utf8_names)
        compress = gzip_wanted(_header(scope, b"accept-encoding"))
        answer = [
            (b"content-type", exposition.content_type.encode()),
            (b"vary", b"Accept, Accept-Encoding"),
        ]
        if compress:
            answer.append((b"content-encoding", b"gzip"))
        parts: Sequence[bytes] = ()
        if scope["method"] == "GET":
            names = frozenset(parse_qs(scope.get("query_string", b"").decode("latin-1")).get("name[]", ()))
            try:
                parts = await self._on_loop().parts(exposition, names)
            except Exception:
                _logger.exception("a scrape failed")
                await _refuse(send, 500, b"The metrics cannot be read; the log says why.\n")
                return
            if compress:
                # Compressing releases the interpreter: in a thread it costs other requests nothing.
                parts = await asyncio.to_thread(_compressed, parts)
            answer.append((b"content-length", str(sum(map(len, parts))).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # A server's send returns at once while the client keeps up.
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    def _on_loop(self) -> "_OnLoop":
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            alive = {known: state for known, state in self._loops.items() if not known.is_closed()}
            self._loops = {**alive, loop: _OnLoop(self._provider, self._renderer)}
        return self._loops[loop]

    def _renderer(self, exposition: Exposition) -> Renderer:
        return Renderer(
            exposition,
            self._complaints,
            scope_labels=self._scope_labels,
            created_timestamps=self._created_timestamps,
        )


class _OnLoop:
    """What an endpoint keeps for one event loop."""

    def __init__(self, provider: Source, make_renderer: Callable[[Exposition], Renderer]) -> None:
        self._merges = SharedMerge(provider)
        self._make_renderer = make_renderer
        self._renderers: OrderedDict[Exposition, Renderer] = OrderedDict()
        # Many scrapes at once take as much of the loop as one does.
        self._rendering = asyncio.Lock()

    async def parts(self, exposition: Exposition, names: frozenset[str]) -> list[bytes]:
        """Return the parts of a new scrape's text."""
        merged = await self._merges.merged()
        async with self._rendering:
            if exposition not in self._renderers:
                self._renderers[exposition] = self._make_renderer(exposition)
            self._renderers.move_to_end(exposition)
            if len(self._renderers) > KEPT_EXPOSITIONS:
                self._renderers.popitem(last=False)
            parts = []
            for part in self._renderers[exposition].render(merged, names):
                if part:
                    parts.append(part)
                await asyncio.sleep(0)
            return parts


def _header(scope: Scope, name: bytes) -> str:
    return ",".join([value.decode("latin-1") for key, value in scope["headers"] if key == name])


def _compressed(parts: Sequence[bytes]) -> list[bytes]:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return [*filter(None, map(compressor.compress, parts)), compressor.flush()]


async def _refuse(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    stated = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*stated, *headers]})
    await send({"type": "http.response.body", "body": body})
