"""The parts of the load: what they claim of themselves, and that each loss they look for is found."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from benchmarks import sizing, template
from benchmarks.fleet import SECOND, Fleet
from benchmarks.pushing import CONFIGURATION, FRAGMENT, check_nothing_lost, check_store
from benchmarks.results import Machine
from benchmarks.scraped import ADDED, check_scraped, scraping_prometheus, settle, wait_until_all_are_scraped
from benchmarks.sizing import Figure, Load, Sizing
from benchmarks.targets import Targets
from benchmarks.template import Template
from benchmarks.usage import MIB
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.victoria import VictoriaServer, running_victoria

SERIES = 500
MACHINE = Machine("a processor", 2, 1.0, "a system", "a Python", {}, [0.0], [0.0])
PAGE = " ".join(sizing.PATH.read_text(encoding="utf-8").split())
FIXED = Figure("a", "what does not grow", "MiB", [30.0])
FIGURES = [Figure("a", "CPU", "cores", [0.2, 0.4, 0.1], scales=True), FIXED]


@pytest.fixture(scope="module")
def taken() -> Template:
    """Take the template from a backend once."""
    return template.capture(SERIES)


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaServer]:
    """Give a VictoriaMetrics."""
    try:
        with running_victoria(tmp_path / "data") as running:
            yield running
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


@contextmanager
def receiver(status: int, body: bytes) -> Iterator[int]:
    """Give the port of a receiver that always answers the same."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pushed(taken: Template, port: int, rounds: int = 2) -> Fleet:
    """Return a small fleet that has pushed and closed its connections."""
    with closing(Fleet(taken.push, port, backends=3, interval=0.05)) as fleet:
        fleet.start(rounds)
        fleet.join()
    return fleet


def recently() -> int:
    """Return a time within any retention, in ns since the epoch."""
    return time.time_ns() - 60 * SECOND


def send(victoria: VictoriaServer, body: bytes) -> None:
    """Push a payload into the store."""
    assert httpx.post(victoria.otlp_url, content=body, trust_env=False).status_code == 200


def test_the_template_has_exactly_the_series_that_were_asked_for(taken: Template) -> None:
    """A push and a scrape have 500 each, and the push has histograms of 14 bounds."""
    assert template.push_series(taken.push) == SERIES
    assert sum(map(template.is_sample, taken.scrape.splitlines())) == SERIES
    scope = taken.push.resource_metrics[0].scope_metrics[0]
    (duration,) = (metric for metric in scope.metrics if metric.name == "aoss.execution.duration")
    assert {14} == {len(point.explicit_bounds) for point in duration.histogram.data_points}


def test_the_page_says_rightly_what_brings_series(taken: Template) -> None:
    """A registered server brings 20, a route 1 and, with its method and status, 35."""
    assert "server brings 20 " in PAGE
    assert "brings 1 and 35 " in PAGE
    metrics = {m.name: m for scope in taken.push.resource_metrics[0].scope_metrics for m in scope.metrics}
    tagged = [
        point
        for metric in metrics.values()
        for point in getattr(metric, str(metric.WhichOneof("data"))).data_points
        if any(each.value.string_value == "prod-web-00" for each in point.attributes)
    ]
    assert len(tagged) == 20
    durations = metrics["http.server.request.duration"].histogram.data_points
    sizes = metrics["http.server.request.body.size"].histogram.data_points
    seen = len(metrics["aoss.api.requests"].sum.data_points)
    assert [seen, seen] == [len(durations), len(sizes)]
    assert len(durations[0].bucket_counts) + 2 + len(sizes[0].bucket_counts) + 2 == 35


def test_the_page_names_the_settings_that_are_set() -> None:
    """The limiter's share, the longest wait between two tries and the queue's size are those of the files."""
    base = yaml.safe_load((CONFIGURATION / "config.yaml").read_text(encoding="utf-8"))
    exporters = yaml.safe_load((CONFIGURATION / FRAGMENT).read_text(encoding="utf-8"))["exporters"]
    limiter = base["processors"]["memory_limiter"]
    limit, spike = limiter["limit_percentage"], limiter["spike_limit_percentage"]
    said = f"{limit - spike} % of the container's memory ({limit} % less the spike of {spike} %)"
    assert said in PAGE
    (exporter,) = exporters.values()
    longest = float(exporter["retry_on_failure"]["max_interval"].removesuffix("s"))
    assert f"Up to {longest * 1.5:g} s after" in PAGE  # chance adds up to a half
    assert f"{sizing.queue_bytes() / MIB:g} MiB by default" in PAGE


def test_a_template_is_never_short_of_series(taken: Template) -> None:
    """A push or a scrape that has fewer series than wanted is an error, not a smaller load."""
    with pytest.raises(ValueError, match="pushed 500 series, which cannot be cut to 501"):
        template.cut(taken.push, taken.scrape, SERIES + 1)
    first = next(line for line in taken.scrape.splitlines() if template.is_sample(line))
    with pytest.raises(ValueError, match="showed 499 series, which cannot be cut to 500"):
        template.cut(taken.push, taken.scrape.replace(first, "", 1).replace("\n\n", "\n"), SERIES)


def test_a_store_has_what_the_fleet_expects_it_to_have(taken: Template, victoria: VictoriaServer) -> None:
    """Names, labels, values and numbers of samples are those that VictoriaMetrics makes of the payload."""
    fleet = Fleet(taken.push, 1, backends=2, interval=1)
    now = recently()
    for number in range(3):
        for backend in fleet.backends:
            send(victoria, backend.export(now + number * SECOND))
    check_store(victoria, fleet)


def test_an_export_that_never_arrived_is_found(taken: Template, victoria: VictoriaServer) -> None:
    """A store that lacks the last export of one backend does not pass."""
    fleet = Fleet(taken.push, 1, backends=2, interval=1)
    for backend in fleet.backends:
        send(victoria, backend.export(recently()))
    fleet.backends[1].export(recently())
    with pytest.raises(AssertionError, match=f"^{SERIES} series are wrong"):
        check_store(victoria, fleet)


def test_a_value_that_is_not_the_last_is_found(taken: Template, victoria: VictoriaServer) -> None:
    """A store that has as many samples as were exported, but older values, does not pass."""
    fleet = Fleet(taken.push, 1, backends=1, interval=1)
    (backend,) = fleet.backends
    send(victoria, backend.export(recently()))
    backend.export(recently())
    backend.exports = 1
    with pytest.raises(AssertionError, match="series are wrong"):
        check_store(victoria, fleet)


def test_a_series_that_never_arrived_is_found(taken: Template, victoria: VictoriaServer) -> None:
    """A store that lacks one series of one backend does not pass."""
    fleet = Fleet(taken.push, 1, backends=1, interval=1)
    (backend,) = fleet.backends
    backend.export(recently())
    request = type(taken.push).FromString(backend.export(recently()))
    backend.exports = 1
    lost = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    del lost[-1:]
    send(victoria, request.SerializeToString())
    with pytest.raises(AssertionError, match=r"1 series are wrong.*is missing"):
        check_store(victoria, fleet)


@pytest.mark.parametrize(
    ("status", "rejected", "said"), [(503, 0, "503"), (200, 7, "7 points rejected")], ids=["busy", "partial"]
)
def test_what_a_receiver_refuses_is_no_success(
    taken: Template, status: int, rejected: int, said: str
) -> None:
    """A status other than 200 and a partial success are refusals, each of them counted."""
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = rejected
    with receiver(status, answer.SerializeToString()) as port:
        fleet = pushed(taken, port)
    assert [said in refusal for refusal in fleet.refused] == [True] * 6
    with pytest.raises(AssertionError, match="6 exports were refused"):
        check_nothing_lost({}, fleet)


def test_a_collector_that_counts_a_loss_does_not_pass(taken: Template) -> None:
    """All points accepted and sent is well; one that could not be queued is not."""
    with receiver(200, b"") as port:
        fleet = pushed(taken, port)
    points = 6.0 * fleet.backends[0].points
    own = {"otelcol_receiver_accepted_metric_points": points, "otelcol_exporter_sent_metric_points": points}
    check_nothing_lost(own, fleet)
    with pytest.raises(AssertionError, match=r"'exporter_enqueue_failed': 1\.0"):
        check_nothing_lost(own | {"otelcol_exporter_enqueue_failed_metric_points": 1.0}, fleet)


def test_a_frozen_target_stands_still(taken: Template) -> None:
    """The values that a scrape shows are others than before, until the targets are frozen."""
    with Targets(taken.scrape, 1) as targets:
        shown = [targets.answer(0) for _ in range(2)]
        targets.frozen = True
        shown += [targets.answer(0) for _ in range(2)]
    assert [shown[0] == shown[1], shown[1] == shown[2], shown[2] == shown[3]] == [False, True, True]


def test_prometheus_has_what_the_targets_showed(taken: Template, tmp_path: Path) -> None:
    """Every series of every target has its last value; a target that moved on is found."""
    try:
        with (
            Targets(taken.scrape, 3) as targets,
            scraping_prometheus(tmp_path, targets, interval=1) as prometheus,
        ):
            wait_until_all_are_scraped(targets, interval=1)
            settle(targets, interval=1)
            check_scraped(prometheus, targets)
            (query,) = re.findall(r"`(count\(.*\))` in Prometheus", PAGE)
            counted = prometheus.value(query.replace("…", targets.targets[0].name))
            assert counted == SERIES + len(ADDED)
            targets.targets[1].grow()
            with pytest.raises(AssertionError, match="another value than was shown"):
                check_scraped(prometheus, targets)
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


def test_only_what_grows_with_the_series_is_shown_for_a_thousand() -> None:
    """A figure that scales has its median's share of a thousand series, any other has none."""
    lines = sizing.markdown(Sizing(MACHINE, Load(4, 500, 15, 60, 60), FIGURES)).splitlines()
    assert lines[2] == "| a | CPU | 0.2 cores | 0.1 to 0.4 | 0.1 cores |"
    assert lines[3] == "|  | what does not grow | 30 MiB |  |  |"


def test_estimates_are_in_proportion_to_the_series() -> None:
    """Ten times the series take ten times as much, and the default queue holds them a tenth as long."""
    tiers = (sizing.COLLECTOR, sizing.VICTORIA, sizing.PROMETHEUS)
    figures = [Figure(tier, what, "", [0.5]) for tier in tiers for what in (sizing.CPU, sizing.BEYOND)]
    figures += [Figure(tier, sizing.STORED, "bytes", [1.0]) for tier in tiers[1:]]
    figures += [Figure(sizing.COLLECTOR, sizing.QUEUED, "MiB", [25.6])]
    run = Sizing(MACHINE, Load(200, 500, 15, 60, 60), figures)
    lines = dict(line[2:-2].split(" | ", 1) for line in sizing.estimates(run).splitlines())
    assert lines["Collector: CPU"] == "0.05 cores | 0.5 cores | 5 cores"
    assert lines["Collector: what the default queue holds"] == "100 min | 10 min | 1 min"
    assert lines["Collector: queue for an hour without the store"] == "0.15 GiB | 1.5 GiB | 15 GiB"
    # 30 days of a sample every 15 s are 172,800 samples a series.
    assert lines["VictoriaMetrics: 30 days on the disk"] == "1.61 GiB | 16.1 GiB | 161 GiB"


def test_the_sizing_page_shows_the_last_run_that_was_kept() -> None:
    """The page cannot drift from the data."""
    last = max(sizing.FOLDER.glob("*.json"))
    text = sizing.PATH.read_text(encoding="utf-8")
    assert sizing.updated(text, last) == text
