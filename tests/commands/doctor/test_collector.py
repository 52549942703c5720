"""The section collector, against real ones with each of its failures."""

from collections.abc import Iterator

import pytest

from app.doctor import collector as module
from app.doctor.backend import examine_backend
from app.doctor.collector import examine_collector
from app.doctor.findings import Verdict
from app.doctor.scrape import Scrape
from app.doctor.web import Web
from tests.commands.doctor.conftest import Stack, the, verdicts
from tests.commands.doctor.servers import Page, answering
from tests.otel_collector.deployment import BASE, FRAGMENTS, Collector, pushing
from tests.support.backend import BackendProcess, wait_for

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again sooner."""
    monkeypatch.setattr(module, "BETWEEN_LOOKS_SECONDS", 0.5)


def scrape_of(web: Web, backend: BackendProcess) -> Scrape:
    """Return a scrape of a backend."""
    _, scrape = examine_backend(web, backend.url, None)
    assert scrape is not None
    return scrape


@pytest.fixture(scope="module")
def failing(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """Run a Collector, one of whose stores is down, and the other refuses."""
    environment = {
        "OTLP_HTTP_ENDPOINT": "http://127.0.0.1:1",
        "COLLECTOR_QUEUE_BYTES": "1000000",
        "VICTORIAMETRICS_URL": f"{stack.victoria.url}/nothing-is-here",
    }
    chosen = (FRAGMENTS["otlp-http"], FRAGMENTS["victoriametrics"])
    folder = tmp_path_factory.mktemp("failing")
    with Collector(folder, BASE, *chosen, environment=environment) as collector:
        yield collector


def test_nobody_listens(web: Web, nobody: str, stack: Stack) -> None:
    """A Collector that is down is a failure, and its metrics are not asked for."""
    findings = examine_collector(web, nobody, stack.collector.metrics_url, None)
    assert verdicts(findings)["collector.answers"] == "fail"
    assert verdicts(findings)["collector.exporting"] == "skipped"


def test_another_server(web: Web, stack: Stack) -> None:
    """Other servers in place of the health check, or of the Collector's own metrics, are told."""
    findings = examine_collector(web, f"{stack.prometheus.url}/-/ready", None, None)
    assert "not a healthy Collector" in the(findings, "collector.answers").reason
    findings = examine_collector(web, None, f"{stack.prometheus.url}/metrics", None)
    assert "no metrics of a Collector" in the(findings, "collector.exporting").reason
    assert "--collector-metrics" in the(findings, "collector.exporting").remedy


def test_only_the_health_check(web: Web, stack: Stack) -> None:
    """Without the address of its own metrics these are skipped, with the option to give."""
    findings = examine_collector(web, stack.collector.url, None, None)
    assert verdicts(findings)["collector.answers"] == "ok"
    exporting = the(findings, "collector.exporting")
    assert (exporting.verdict, "--collector-metrics" in exporting.remedy) == (Verdict.SKIPPED, True)


def test_nothing_comes_in_then_nothing_goes_out(web: Web, failing: Collector) -> None:
    """An idle Collector is a warning; a store that is down or refuses, and a full queue, are failures."""
    url = failing.metrics_url
    idle = verdicts(examine_collector(web, failing.url, url, None))
    assert idle["collector.receiving"] == "warn"
    assert set(idle["collector.exporting"].split(",")) == {"warn"}
    with pushing(failing, "doctor", grpc=False, timeout=1) as pusher:
        pusher.push()
        wait_for(lambda: failing.own("otelcol_exporter_send_failed_metric_points") > 0, 30)
        reasons = failures(web, url)
        assert reasons[0].startswith("otlp_http: its queue holds something")
        assert reasons[1].startswith("otlp_http/victoriametrics: nothing has gone out")
        for number in range(4000):
            pusher.meter.create_counter(f"filling.the.queue.with.a.long.name.{number}").add(1)
        own = ("otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity")
        full = {"exporter": "otlp_http"}
        for _ in range(20):
            if failing.own(own[0], **full) > 0.8 * failing.own(own[1], **full):
                break
            pusher.push()
        assert failures(web, url)[0].startswith("otlp_http: its queue is ")


def failures(web: Web, url: str) -> list[str]:
    """Return the reasons of the failures of exporters."""
    findings = [each for each in examine_collector(web, None, url, None) if each.check == "exporting"]
    assert {each.verdict for each in findings} == {Verdict.FAIL}
    return [each.reason for each in findings]


def test_what_was_lost(web: Web, stack: Stack) -> None:
    """Points that were lost or refused while others got through are warnings that lead to the runbook."""
    page = stack.collector.http.get(stack.collector.metrics_url).text
    more = (
        '\notelcol_exporter_send_failed_metric_points{exporter="debug"} 5'
        '\notelcol_receiver_refused_metric_points{receiver="otlp"} 7\n'
    )
    with answering({"/metrics": Page(200, TEXT, page + more)}) as url:
        found = {each.check: each for each in examine_collector(web, None, f"{url}/metrics", None)[::-1]}
        debug = next(
            each
            for each in examine_collector(web, None, f"{url}/metrics", None)
            if each.reason.startswith("debug")
        )
    assert (debug.verdict, "5 are lost" in debug.reason) == (Verdict.WARN, True)
    assert (found["receiving"].verdict, "7 refused" in found["receiving"].reason) == (Verdict.WARN, True)
    assert "AossCollectorDropping" in debug.remedy


def test_a_backend_that_does_not_push(web: Web, stack: Stack, plain_backend: BackendProcess) -> None:
    """A backend without the OTLP exporter is a warning with the variable to set."""
    pushed = the(
        examine_collector(web, stack.collector.url, None, scrape_of(web, plain_backend)), "collector.pushed"
    )
    assert (pushed.verdict, "OTEL_METRICS_EXPORTER" in pushed.remedy) == (Verdict.WARN, True)


def test_a_backend_whose_pushes_fail(web: Web, stack: Stack, official_backend: BackendProcess) -> None:
    """A backend all of whose exports failed is a failure, though the Collector is well."""
    wait_for(lambda: official_backend.total("otel_sdk_exporter_metric_data_point_exported_total") > 0, 30)
    pushed = the(
        examine_collector(web, stack.collector.url, None, scrape_of(web, official_backend)),
        "collector.pushed",
    )
    assert (pushed.verdict, "OTEL_EXPORTER_OTLP_ENDPOINT" in pushed.remedy) == (Verdict.FAIL, True)
