"""Who may call: the Host, Origin and key checks that stand before every route."""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.console.page import is_page

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
METRICS_PATH = "/metrics"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuse what a stranger, or a web page that someone visits, must not be able to do.

    In this order: without a key only loopback is answered (403); the Host is known (400), which stops DNS
    rebinding; a call that changes something comes from no foreign page (403); the key is right (401).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        api_key: str | None,
        metrics_token: str | None,
        allowed_hosts: tuple[str, ...],
    ) -> None:
        self.app = app
        self._api_key = api_key
        self._metrics_token = metrics_token or api_key
        self._allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        status, message = refusal
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await JSONResponse({"detail": message}, status, headers)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if not self._api_key and not _is_local(scope):
            return 403, "without AOSS_API_KEY the backend answers on loopback addresses only"
        host = headers.get("host", "")
        if not self._knows(host):
            return 400, f"the host {host[:200]!r} is not allowed: add it to AOSS_ALLOWED_HOSTS"
        if scope.get("method") not in SAFE_METHODS and not _is_own_origin(headers.get("origin"), host):
            return 403, "calls that change something are refused to pages of another origin"
        if is_page(scope["path"]):
            # Without a key the page asks for it.
            return None
        wanted = self._metrics_token if scope["path"].rstrip("/") == METRICS_PATH else self._api_key
        if wanted and not _carries(headers, wanted):
            return 401, "send the key as 'Authorization: Bearer …'"
        return None

    def _knows(self, host: str) -> bool:
        name = host_name(host)
        return name in self._allowed_hosts or is_loopback(name)


def host_name(host: str) -> str:
    """Return the name in a Host header without its port, in lower case; empty if it is malformed."""
    if any(character in host for character in "@/?#\\ "):
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Return whether a host name or address can only mean this machine."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_local(scope: Mapping[str, object]) -> bool:
    server = scope.get("server")
    # A UNIX socket has a path and no port; it is as local as can be.
    if not isinstance(server, (tuple, list)) or server[1] is None:
        return isinstance(server, (tuple, list))
    return is_loopback(str(server[0]))


def _is_own_origin(origin: str | None, host: str) -> bool:
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _carries(headers: Headers, key: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), key.encode())
