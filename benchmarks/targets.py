"""Simulated backends that are scraped, as many as wanted behind one port, and what a store must have then."""

import random
import re
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from benchmarks.fleet import MOST_GROWTH, QUARTER, Series, instance, without
from benchmarks.template import is_sample

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
GZIP_LEVEL = 1  # as the backend has it
GZIP_WINDOW = zlib.MAX_WBITS | 16
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Line:
    """A line of an exposition: what stands before and behind its value, and how that moves."""

    def __init__(self, line: str, kind: str) -> None:
        self.before, _, rest = line.partition("} ") if "{" in line else line.partition(" ")
        self.before += "} " if "{" in line else " "
        self.behind = "".join(rest.partition(" ")[1:])  # an exemplar
        name, _, labels = self.before.partition("{")
        self.name = name.strip()
        self.labels = dict(_LABEL.findall(labels))
        self.kind = kind
        if kind == "histogram":
            self.kind = self.name.rpartition("_")[2]


class Target:
    """One backend: the template's lines, all values from zero and growing."""

    def __init__(self, lines: list[str | Line], number: int) -> None:
        self.name = instance(number)
        self.scrapes = 0
        self._lines = lines
        self._values: list[float] = [int(isinstance(line, Line) and line.kind == "info") for line in lines]
        self._random = random.Random(number)  # noqa: S311 - to be the same in every run, not to be secret

    def scrape(self) -> str:
        """Let the values grow and return the exposition."""
        self.scrapes += 1
        self.grow()
        return self.text()

    def text(self, timestamp: str = "") -> str:
        """Return the exposition as it is; with a timestamp, in s since the epoch, the samples with it."""
        if timestamp:
            shown = [
                f"{line.before}{value} {timestamp}"
                for line, value in zip(self._lines, self._values, strict=True)
                if isinstance(line, Line)
            ]
        else:
            shown = [
                line if isinstance(line, str) else f"{line.before}{value}{line.behind}"
                for line, value in zip(self._lines, self._values, strict=True)
            ]
        return "\n".join(shown) + "\n"

    def expected(self) -> dict[Series, float]:
        """Return every series with the value that was shown last."""
        return {
            without(line.labels | {"__name__": line.name}): value
            for line, value in zip(self._lines, self._values, strict=True)
            if isinstance(line, Line)
        }

    def grow(self) -> None:
        """Move every value. A histogram's observations fall into one bucket, and move those above it."""
        draw, values = self._random.random, self._values
        observations, at_or_below, begins = 0, 0.0, True
        for number, line in enumerate(self._lines):
            if isinstance(line, str):
                continue
            kind = line.kind
            if kind == "bucket":
                if begins:
                    observations, at_or_below = int(draw() * MOST_GROWTH), draw() * 15
                    begins = False
                at_or_below -= 1
                if at_or_below < 0 or line.labels["le"] == "+Inf":
                    values[number] += observations
                begins = line.labels["le"] == "+Inf"
            elif kind == "count":
                values[number] += observations
            elif kind == "sum":
                values[number] += observations * QUARTER
            elif kind == "counter":
                values[number] += int(draw() * MOST_GROWTH)
            elif kind == "gauge":
                values[number] = int(draw() * MOST_GROWTH)


class Targets:
    """Targets at `/NUMBER` of one loopback port, with gzip as the backend does it, for a `with` block."""

    def __init__(self, template: str, count: int) -> None:
        self.targets = self.of(template, count)
        self.frozen = False
        self.bytes_sent = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})

    @staticmethod
    def of(template: str, count: int) -> list[Target]:
        """Return targets that nobody serves."""
        lines = list(_lines(template))
        return [Target(lines, number) for number in range(count)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def scrape_config(self, interval: float) -> dict[str, Any]:
        """Return Prometheus' job for them, with the `instance` that each would have."""
        return {
            "job_name": "aoss-backend",
            "scrape_interval": f"{interval:g}s",
            "scrape_timeout": f"{min(interval, 10):g}s",
            "metric_name_escaping_scheme": "underscores",
            "static_configs": [
                {
                    "targets": [f"127.0.0.1:{self._server.server_port}"],
                    "labels": {"__metrics_path__": f"/{number}", "instance": target.name},
                }
                for number, target in enumerate(self.targets)
            ],
        }

    def answer(self, number: int) -> bytes:
        """Return the body of a scrape of one target, compressed."""
        target = self.targets[number]
        text = target.text() if self.frozen else target.scrape()
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
        body = compressor.compress(text.encode()) + compressor.flush()
        with self._lock:
            self.bytes_sent += len(body)
        return body

    def expected(self) -> dict[str, dict[Series, float]]:
        """Return what a store must have, by instance and series."""
        return {target.name: target.expected() for target in self.targets}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # In one segment, instead of one that waits for the acknowledgement of another.
    wbufsize = -1

    def __init__(self, targets: Targets, *arguments: Any) -> None:
        self._targets = targets
        super().__init__(*arguments)

    def do_GET(self) -> None:
        body = self._targets.answer(int(self.path.removeprefix("/")))
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


def _lines(template: str) -> Iterator[str | Line]:
    kind = ""
    for line in template.splitlines():
        if line.startswith("# TYPE "):
            kind = line.rpartition(" ")[2]
        yield Line(line, kind) if is_sample(line) else line
