"""The official SDK and its Prometheus exporter, for OTEL_PYTHON_METER_PROVIDER=sdk_meter_provider."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from telemetry.exposition.negotiation import preferred
from telemetry.readers import cardinality_limits


class OfficialScrape:
    """An ASGI application that shows what the official exporter collects: one worker's own numbers."""

    def __init__(self, cardinality_limit: int) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.reader = PrometheusMetricReader(
            registry=self.registry,
            scope_info_enabled=False,
            cardinality_limits=cardinality_limits(cardinality_limit),
        )
        # The official collector passes data through a queue: two collections at once would double it.
        self._collecting = threading.Lock()
        self._renderer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics-render")

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type, in the format that an Accept header asks for."""
        encode, content_type = choose_encoder(preferred(accept).content_type)
        with self._collecting:
            return encode(self.registry), content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape, rendered in a thread: it takes milliseconds per thousand series."""
        accept = Headers(scope=scope).get("accept", "")
        loop = asyncio.get_running_loop()
        body, content_type = await loop.run_in_executor(self._renderer, self.text, accept)
        await Response(body, headers={"content-type": content_type})(scope, receive, send)

    def close(self) -> None:
        """Let the thread go."""
        self._renderer.shutdown(wait=False)
