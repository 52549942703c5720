"""A collector that answers as it is told, over HTTP and gRPC, and notes what came, from whom and when."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped] # no stubs among the locked packages
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)

SENDER = "x-sender"
HANG_SECONDS = 30.0


class Arrival(NamedTuple):
    """A request that was accepted; `at` is of the monotonic clock."""

    at: float
    sender: str
    request: ExportMetricsServiceRequest

    def points(self, name: str) -> list[Any]:
        """Return the points of a metric, of whatever kind."""
        return [
            point
            for resource in self.request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in getattr(metric, str(metric.WhichOneof("data"))).data_points
        ]

    def value(self, name: str) -> float:
        """Return the one value of a sum."""
        (point,) = self.points(name)
        return float(getattr(point, point.WhichOneof("value")))


class Collector:
    """What came, oldest first, and how to answer.

    `answer` is None to accept, a status or code, or another of those that the servers below know.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.answer: Any = None
        self.refused = 0
        self.arrivals: list[Arrival] = []
        self._hanging = threading.Event()

    def hang(self) -> None:
        """Keep the caller waiting, as long as a test may take."""
        self._hanging.wait(HANG_SECONDS)

    def let_go(self) -> None:
        """End the waiting of all."""
        self._hanging.set()

    def wait(self, count: int, seconds: float = 20.0) -> Arrival:
        """Return the arrival of a number, from 1; fail after a generous while."""
        deadline = time.monotonic() + seconds
        while len(self.arrivals) < count:
            assert time.monotonic() < deadline, f"{len(self.arrivals)} of {count} arrived"
            time.sleep(0.01)
        return self.arrivals[count - 1]

    def _take(self, sender: str, request: ExportMetricsServiceRequest) -> None:
        self.arrivals.append(Arrival(time.monotonic(), sender, request))


@contextlib.contextmanager
def http_collector(port: int = 0) -> Iterator[Collector]:
    """Give a collector of OTLP over http/protobuf; it knows the answers of a status, "hang" and "garbage"."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = collector.answer
            if answer is None:
                request = ExportMetricsServiceRequest.FromString(body)
                collector._take(self.headers.get(SENDER, ""), request)
                self.send_response(200)
                self.end_headers()
                return
            collector.refused += 1
            if answer == "hang":
                collector.hang()
            elif answer == "garbage":
                self.wfile.write(b"\x00\xff not HTTP at all \r\n\r\n" * 100)
            else:
                self.send_response(answer)
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Stay silent: a client that is killed breaks its connection."""

    server = Server(("127.0.0.1", port), Handler)
    collector = Collector()
    collector.endpoint = f"http://127.0.0.1:{server.server_port}/v1/metrics"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        collector.let_go()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def grpc_collector(port: int = 0) -> Iterator[Collector]:
    """Give a collector of OTLP over gRPC; it knows the answers of a grpc.StatusCode and "hang"."""

    class Service(MetricsServiceServicer):
        def Export(  # noqa: N802 - the service's name
            self, request: ExportMetricsServiceRequest, context: Any
        ) -> ExportMetricsServiceResponse:
            answer = collector.answer
            if answer is None:
                collector._take(dict(context.invocation_metadata()).get(SENDER, ""), request)
                return ExportMetricsServiceResponse()
            collector.refused += 1
            if answer == "hang":
                collector.hang()
            else:
                context.abort(answer, "as the test asks")
            return ExportMetricsServiceResponse()

    executor = ThreadPoolExecutor(4)
    server = grpc.server(executor)
    add_MetricsServiceServicer_to_server(Service(), server)  # type: ignore[no-untyped-call] # generated
    collector = Collector()
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield collector
    finally:
        collector.let_go()
        server.stop(None).wait()
        executor.shutdown()
