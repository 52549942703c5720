"""HTTP measurements: the project's own request counter, and the standard HTTP metrics."""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from opentelemetry.metrics import MeterProvider
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.instruments import Instruments, attribute_value
from telemetry.process import prefer_stable_http_names

# What watches must not move what it watches.
EXCLUDED_PATHS = ("/metrics", "/healthz", "/readyz", "/api/console/samples")
UNMATCHED = "unmatched"
OTHER_METHOD = "_OTHER"

# RFC 9110 and RFC 5789, as the HTTP conventions list them.
_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))


def http_method(method: object) -> str:
    """Return a standard HTTP method, or `_OTHER`: a caller may send any word, and series are for ever."""
    name = attribute_value(method).upper()
    return name if name in _METHODS else OTHER_METHOD


_ROUTING_KEYS = ("type", "method", "path", "root_path", "headers")


class ApiRequestsMiddleware:
    """Count every finished HTTP request in aoss.api.requests, before the last part of its response is sent.

    A pure ASGI middleware: it touches neither the body nor the stream. A request counts once, however it
    ends: a client that goes away leaves the status that was sent, an exception before any response is a 500.
    """

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self.app = app
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it; lifespan and websockets pass untouched."""
        if scope["type"] != "http" or scope["path"].rstrip("/") in EXCLUDED_PATHS:
            await self.app(scope, receive, send)
            return
        request = _CountedRequest(self._instruments, scope, send)
        try:
            await self.app(scope, receive, request.send)
        finally:
            request.count()


class _CountedRequest:
    """One request on its way; counted once."""

    def __init__(self, instruments: Instruments, scope: Scope, send: Send) -> None:
        self._instruments = instruments
        # Routing changes the scope in place: a mount replaces the app and adds to root_path.
        self._app = scope.get("app")
        self._unrouted = {key: scope[key] for key in _ROUTING_KEYS if key in scope}
        self._send = send
        self._status = 500
        self._counted = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] in ("http.response.body", "http.response.pathsend") and not message.get(
            "more_body", False
        ):
            self.count()
        await self._send(message)

    def count(self) -> None:
        if self._counted:
            return
        self._counted = True
        try:
            attributes = {
                "method": http_method(self._unrouted["method"]),
                "endpoint": attribute_value(
                    route_template(getattr(self._app, "routes", ()), self._unrouted) or UNMATCHED
                ),
                "status_code": str(self._status),
            }
        except Exception:  # noqa: BLE001 - telemetry never raises into its caller
            self._instruments.failures.report("request")
            return
        self._instruments.api_requests.add(1, attributes)


def route_template(routes: Sequence[BaseRoute], scope: Scope) -> str | None:
    """Return the template of the route that a scope leads to, with the prefixes of routers and mounts.

    The scope must be as it was before routing, and is not changed. None where no route matches.
    """
    partial: str | None = None
    for route in iter_route_contexts(routes):
        match, child = route.matches(scope)
        if match is Match.FULL:
            return _mounted(route, {**scope, **child})
        if match is Match.PARTIAL and partial is None:
            partial = route.path_format
    return partial


def _mounted(route: RouteContext, scope: Scope) -> str | None:
    mount = route.original_route
    if isinstance(mount, Mount):
        prefix = (route.path_format or "").removesuffix("/{path}")
        inner = route_template(mount.routes, scope)
        return f"{prefix}{inner}" if inner else route.path_format
    return route.path_format


def instrument_app(app: FastAPI, instruments: Instruments, meter_provider: MeterProvider) -> None:
    """Measure an application's requests: standard HTTP metrics, and aoss.api.requests.

    Call it after every other middleware was added and before the first request, so that refusals by those
    middlewares count too. Calling it twice changes nothing.
    """
    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        return
    prefer_stable_http_names()
    # It reads its variables from the environment when it is imported.
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415

    app.add_middleware(ApiRequestsMiddleware, instruments=instruments)
    FastAPIInstrumentor.instrument_app(
        app,
        meter_provider=meter_provider,
        excluded_urls=f"^[^/]*//[^/]*({'|'.join(EXCLUDED_PATHS)})/?$",
        exclude_spans=["receive", "send"],
    )
