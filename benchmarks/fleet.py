"""Simulated backends that push over OTLP from one thread, and what a store must have of them then."""

import http.client
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from telemetry.exposition.naming import Escaping, label_name, metric_name, unit_word

# A series of one backend: its name and the labels that come from its attributes, `le` as a number.
Series = tuple[str, frozenset[tuple[str, str]]]
INSTANCE = "service.instance.id"
MOST_GROWTH = 10  # below it, so that most values change with every export
QUARTER = 0.25  # an observation's size: sums stay exact in a float, and in a store that keeps 15 digits
SECOND = 10**9
TIMEOUT_SECONDS = 30.0


def instance(number: int) -> str:
    """Return the name of one of the simulated backends."""
    return f"backend-{number:03}"


class Backend:
    """One backend: the template's payload under an identity of its own, all values from zero and growing."""

    def __init__(self, template: ExportMetricsServiceRequest, number: int) -> None:
        self.name = instance(number)
        self.exports = 0
        self._random = random.Random(number)  # noqa: S311 - to be the same in every run, not to be secret
        self._request = ExportMetricsServiceRequest()
        self._request.CopyFrom(template)
        self._identify(f"host-{number:03}")
        self._numbers: list[tuple[Any, str, bool]] = []
        self._histograms: list[Any] = []
        for metric in self._metrics():
            self._reset(metric)

    @property
    def points(self) -> int:
        """Return how many data points an export has."""
        return len(self._numbers) + len(self._histograms)

    def export(self, now: int) -> bytes:
        """Let the values grow and return the payload of an export at `now`, in ns since the epoch."""
        self.exports += 1
        draw = self._random.random
        for point, field, grows in self._numbers:
            value = int(draw() * MOST_GROWTH)
            if field == "as_double":
                value *= QUARTER  # type: ignore[assignment] # a float for a float's field
            setattr(point, field, getattr(point, field) + value if grows else value)
            point.time_unix_nano = now
        for point in self._histograms:
            observations = int(draw() * MOST_GROWTH)
            point.bucket_counts[int(draw() * len(point.bucket_counts))] += observations
            point.count += observations
            point.sum += observations * QUARTER
            point.time_unix_nano = now
        payload: bytes = self._request.SerializeToString()
        return payload

    def expected(self) -> Iterator[tuple[Series, float]]:
        """Yield every Prometheus series with the value that was exported last."""
        for metric in self._metrics():
            kind = str(metric.WhichOneof("data"))
            counter = kind == "sum" and metric.sum.is_monotonic
            unit = unit_word(metric.unit, gauge=kind != "histogram" and not counter)
            name = metric_name(metric.name, unit, Escaping.UNDERSCORES, counter=counter)
            for point in getattr(metric, kind).data_points:
                labels = frozenset(
                    (label_name(each.key, Escaping.UNDERSCORES), _text(each.value))
                    for each in point.attributes
                )
                if kind != "histogram":
                    yield (name, labels), float(getattr(point, point.WhichOneof("value")))
                    continue
                total = 0
                bounds = [*point.explicit_bounds, float("inf")]
                for bound, count in zip(bounds, point.bucket_counts, strict=True):
                    total += count
                    yield (f"{name}_bucket", labels | {("le", str(bound))}), float(total)
                yield (f"{name}_count", labels), float(point.count)
                yield (f"{name}_sum", labels), point.sum

    def _metrics(self) -> Iterator[Metric]:
        for scope in self._request.resource_metrics[0].scope_metrics:
            yield from scope.metrics

    def _identify(self, host: str) -> None:
        attributes = self._request.resource_metrics[0].resource.attributes
        (own,) = (each for each in attributes if each.key == INSTANCE)
        own.value.string_value = self.name
        added = attributes.add(key="host.name")
        added.value.string_value = host

    def _reset(self, metric: Metric) -> None:
        kind = str(metric.WhichOneof("data"))
        if kind != "gauge":
            temporality = getattr(metric, kind).aggregation_temporality
            assert temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for point in getattr(metric, kind).data_points:
            if kind == "histogram":
                point.bucket_counts[:] = [0] * len(point.bucket_counts)
                point.count, point.sum = 0, 0.0
                self._histograms.append(point)
            else:
                field = str(point.WhichOneof("value"))
                setattr(point, field, 0)
                self._numbers.append((point, field, kind == "sum" and metric.sum.is_monotonic))


class Fleet:
    """Backends that push OTLP over HTTP, uncompressed as ours does by default, over lasting connections.

    The exports of one interval are evenly spread over it. One that is late goes out at once. Whatever was not
    taken whole is in `refused`.
    """

    def __init__(
        self, template: ExportMetricsServiceRequest, port: int, *, backends: int, interval: float
    ) -> None:
        self.backends = [Backend(template, number) for number in range(backends)]
        self.bytes_sent = 0
        self.refused: list[str] = []
        self._interval = interval
        self._connections = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS) for _ in self.backends
        ]
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, rounds: int) -> None:
        """Let every backend export `rounds` times, from a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=[rounds])
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the rounds; raises what ended them early."""
        assert self._thread is not None
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Stop early, if it has not ended, and close the connections."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for connection in self._connections:
            connection.close()

    def expected(self) -> dict[str, dict[Series, float]]:
        """Return what a store must have, by instance and series."""
        return {backend.name: dict(backend.expected()) for backend in self.backends}

    def _run(self, rounds: int) -> None:
        started = time.monotonic()
        spacing = self._interval / len(self.backends)
        try:
            for number in range(rounds * len(self.backends)):
                if self._stop.wait(max(0.0, started + number * spacing - time.monotonic())):
                    return
                which = number % len(self.backends)
                self._push(self.backends[which], self._connections[which])
        except BaseException as error:  # noqa: BLE001 - given to whoever joins
            self._failed = error

    def _push(self, backend: Backend, connection: http.client.HTTPConnection) -> None:
        body = backend.export(time.time_ns())
        self.bytes_sent += len(body)
        try:
            connection.request("POST", "/v1/metrics", body, {"Content-Type": "application/x-protobuf"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            self.refused.append(f"{backend.name}: {error!r}")
            return
        if response.status != 200:
            self.refused.append(f"{backend.name}: {response.status} {answer[:200]!r}")
        elif rejected := ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points:
            self.refused.append(f"{backend.name}: {rejected} points rejected")


def without(labels: Mapping[str, str], *unwanted: str) -> Series:
    """Return a store's series without the labels that are not of its attributes, `le` as a number."""
    kept = {key: value for key, value in labels.items() if key not in unwanted}
    if "le" in kept:
        kept["le"] = str(float(kept["le"]))
    return kept.pop("__name__"), frozenset(kept.items())


def _text(value: Any) -> str:
    found = getattr(value, str(value.WhichOneof("value")))
    return str(found).lower() if isinstance(found, bool) else str(found)
