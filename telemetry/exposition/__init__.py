"""Metrics for a Prometheus server: text of merged streams, an ASGI endpoint, a port of its own."""

from telemetry.exposition.endpoint import MetricsEndpoint
from telemetry.exposition.once import exposition
from telemetry.exposition.server import MetricsServer, start_http_server

__all__ = ["MetricsEndpoint", "MetricsServer", "exposition", "start_http_server"]
