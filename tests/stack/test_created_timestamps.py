"""Created timestamps as Prometheus takes them: a zero before a series' first sample, never after it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from telemetry.exposition import exposition
from telemetry.sdk import MeterProvider
from tests.support.backend import wait_for
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.prometheus import running_prometheus

SCRAPES = 4


@contextmanager
def a_new_series_in_each_scrape() -> Iterator[str]:
    """Serve metrics in which a series begins after the scrape began; give the address."""
    provider = MeterProvider()
    counter = provider.get_meter("test").create_counter("events")

    class Scrape(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.02)  # a scrape takes its time
            counter.add(1, {"begun": str(time.time_ns())})
            body, content_type = exposition(provider, self.headers.get("Accept", ""), created_timestamps=True)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scrape)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()


def test_the_zero_comes_first(tmp_path: Path) -> None:
    """A series that begins while it is scraped is stored as 0, 1, 1: it never falls."""
    with a_new_series_in_each_scrape() as target:
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "{global: {scrape_interval: 200ms, scrape_timeout: 200ms}, "
            f"scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{target}']}}]}}]}}\n"
        )
        try:
            prometheus = running_prometheus(config, tmp_path / "data")
        except ProgramUnavailableError as error:
            pytest.skip(str(error))
        with prometheus:
            wait_for(lambda: len(prometheus.query("events_total offset 1s")) >= SCRAPES, 30)
            stored = [
                [value for _, value in series.points] for series in prometheus.samples("events_total[1m]")
            ]
    assert [values for values in stored if values != sorted(values)] == []
    assert [values[0] for values in stored] == [0.0] * len(stored)
