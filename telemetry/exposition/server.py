"""A port of its own for the scrape, shared by the workers of a service.

Source: Prometheus metrics exporter, "Configuration": the host is localhost and the port 9464 unless set.
"""

import errno
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

from telemetry.exposition.endpoint import MetricsEndpoint
from telemetry.exposition.sharing import Source

if TYPE_CHECKING:
    import uvicorn

_logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
_STOP_SECONDS = 5.0
_BACKLOG = 128


class MetricsServer:
    """A thread that serves metrics at a port, or waits until another worker frees it."""

    def __init__(self, endpoint: MetricsEndpoint, host: str, port: int) -> None:
        self._endpoint = endpoint
        self._host = host
        self._port = port
        self._stopping = threading.Event()
        self._server = self._make_server()
        self._sockets = _bound(host, port)
        self._thread = threading.Thread(target=self._run, name="metrics-server", daemon=True)
        _servers.add(self)
        self._thread.start()

    @property
    def serving(self) -> bool:
        """Return whether this worker has the port."""
        return bool(self._sockets)

    def stop(self) -> None:
        """Free the port, at most some seconds later; scrapes that have begun are answered. Twice is once."""
        self._stopping.set()
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        _servers.discard(self)

    def close_after_fork(self) -> None:
        """Let go of the parent's sockets: held here, the port would stay taken when the parent dies."""
        self._stopping.set()
        for listener in self._sockets:
            listener.close()
        self._sockets = []

    def _run(self) -> None:
        if not self._sockets:
            _logger.info("the metrics port %s:%d is taken; this worker waits for it", self._host, self._port)
        while not self._sockets:
            if self._stopping.wait(RETRY_SECONDS):
                return
            try:
                self._sockets = _bound(self._host, self._port)
            except OSError:
                _logger.debug("the metrics port %s:%s cannot be had", self._host, self._port, exc_info=True)
        try:
            self._server.run(sockets=self._sockets)
        except Exception:
            _logger.exception("the metrics server at %s:%s ended", self._host, self._port)
        finally:
            for listener in self._sockets:
                listener.close()
            self._sockets = []

    def _make_server(self) -> "uvicorn.Server":
        # Who mounts the endpoint in another server need not have this one.
        import uvicorn  # noqa: PLC0415

        config = uvicorn.Config(
            self._endpoint,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(_STOP_SECONDS) - 1,
        )
        return uvicorn.Server(config)


_servers: WeakSet[MetricsServer] = WeakSet()


def _close_after_fork() -> None:
    for server in list(_servers):
        server.close_after_fork()
    _servers.clear()


os.register_at_fork(after_in_child=_close_after_fork)


def start_http_server(
    provider: Source,
    host: str = "localhost",
    port: int = 9464,
    *,
    bearer_token: str | None = None,
    scope_labels: bool = False,
    created_timestamps: bool = False,
    utf8_names: bool = False,
) -> MetricsServer:
    """Serve a provider's metrics at a port of their own, at any path, in a thread.

    Every worker of a service may call it with the same port: the first serves, what it shows is all workers',
    and the others wait to take its place. A forked child calls it again for itself. Raises OSError where the
    address is not one of this machine or may not be used.
    """
    endpoint = MetricsEndpoint(
        provider,
        bearer_token=bearer_token,
        scope_labels=scope_labels,
        created_timestamps=created_timestamps,
        utf8_names=utf8_names,
    )
    return MetricsServer(endpoint, host, port)


def _bound(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen at all addresses of a host, none where another process has the port."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # After a restart, connections of the last process may linger; this lets nobody share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                # The name may stand for an IPv6 address that this machine does not have.
                unavailable = error
                continue
            for other in sockets:
                other.close()
            if error.errno == errno.EADDRINUSE:
                return []
            raise
        sockets.append(listener)
    if not sockets and unavailable is not None:
        raise unavailable
    return sockets
