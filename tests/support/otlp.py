"""Small real OTLP receivers: HTTP with protobuf, and gRPC."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc  # type: ignore[import-untyped] # no stubs among the locked packages
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)

Points = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Received:
    """The requests that a receiver got, oldest first."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.requests: list[ExportMetricsServiceRequest] = []
        self.authorization: str | None = None

    def resource(self) -> dict[str, str]:
        """Return the last request's resource attributes."""
        attributes = self.requests[-1].resource_metrics[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in attributes}

    def points(self) -> Points:
        """Return the last request's points by name and attributes: sums, and histograms' counts."""
        points: Points = {}
        for resource in self.requests[-1].resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    for point in getattr(metric, str(kind)).data_points:
                        key = frozenset((a.key, a.value.string_value) for a in point.attributes)
                        is_histogram = kind == "histogram"
                        number = point.count if is_histogram else getattr(point, point.WhichOneof("value"))
                        points[(metric.name, key)] = float(number)
        return points


@contextmanager
def http_receiver() -> Iterator[Received]:
    """Give a receiver of OTLP over http/protobuf on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/metrics", "application/x-protobuf")
            received.authorization = self.headers["authorization"]
            received.requests.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Received(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_receiver() -> Iterator[Received]:
    """Give a receiver of OTLP over gRPC on a free loopback port."""

    class Service(MetricsServiceServicer):
        def Export(  # noqa: N802 - the service's name
            self, request: ExportMetricsServiceRequest, context: Any
        ) -> ExportMetricsServiceResponse:
            received.authorization = dict(context.invocation_metadata()).get("authorization")
            received.requests.append(request)
            return ExportMetricsServiceResponse()

    executor = ThreadPoolExecutor(2)
    server = grpc.server(executor)
    add_MetricsServiceServicer_to_server(Service(), server)  # type: ignore[no-untyped-call] # generated
    received = Received(f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait()
        executor.shutdown()
