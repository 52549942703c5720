"""The pipeline end to end: scrape and push, limits, failures, shutdown."""

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from telemetry.official import OfficialScrape
from telemetry.pipeline import Pipeline
from telemetry.settings import OFFICIAL_SDK, TelemetrySettings
from tests.support.backend import free_port
from tests.support.otlp import Received, grpc_receiver, http_receiver
from tests.support.promtool import check_metrics
from tests.support.stack.programs import ProgramUnavailableError
from tests.telemetry.scraping import parse, scrape, total, value

START = {"agent_type": "general", "server_tag": "web"}


def start(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Pipeline:
    """Start a pipeline from the process' environment, as the backend does."""
    for key in [key for key in os.environ if key.startswith(("OTEL_", "AOSS_"))]:
        monkeypatch.delenv(key)
    for key, text in variables.items():
        monkeypatch.setenv(key, text)
    return Pipeline.start(TelemetrySettings.from_environment(os.environ))


def test_pipelines_are_independent(pipeline: Pipeline) -> None:
    """Two pipelines in one process share no count, and the process metrics appear in both."""
    other = Pipeline.start(TelemetrySettings())
    other.instruments.executions.add(5, START)
    assert value(scrape(other), "aoss_executions_total", **START) == 5.0
    assert value(scrape(pipeline), "aoss_executions_total", **START) is None
    for started in (pipeline, other):
        assert total(scrape(started), "process_memory_usage_bytes") > 1_000_000
    other.shutdown()


def test_the_scrape_says_what_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """`target_info` carries the resource, and no series carries a scope label."""
    pipeline = start(
        monkeypatch, OTEL_SERVICE_NAME="ops", OTEL_RESOURCE_ATTRIBUTES="service.instance.id=i-1,team=sre"
    )
    series = scrape(pipeline)
    (info,) = [dict(labels) for name, labels in series if name == "target_info"]
    wanted = {
        "service_name": "ops",
        "service_instance_id": "i-1",
        "team": "sre",
        "service_version": "0.1.0",
    }
    assert wanted.items() <= info.items()
    # Of the run, not of the worker that happens to answer.
    assert "process_pid" not in info
    assert not [name for name, labels in series if name.startswith("python_") or "otel_scope" in str(labels)]
    pipeline.shutdown()


def test_process_metrics_have_standard_names(pipeline: Pipeline) -> None:
    """The process.* metrics come out under the names of the conventions, and nothing of the system does."""
    names = {name for name, _ in scrape(pipeline) if not name.startswith(("aoss_", "otel_"))}
    assert names == {
        "target_info",
        "process_cpu_time_seconds_total",
        "process_context_switches_total",
        "process_memory_usage_bytes",
        "process_memory_virtual_bytes",
        "process_open_file_descriptor_count",
        "process_thread_count",
    }


def test_promtool_accepts_the_scrape(pipeline: Pipeline) -> None:
    """Prometheus' own tool finds nothing but the tolerated names; a wrong exposition it refuses."""
    pipeline.instruments.execution_duration.record(1.5, {"agent_type": "general", "status": "Success"})
    body, _ = pipeline.exposition()
    try:
        assert check_metrics(body) == []
    except ProgramUnavailableError as missing:
        pytest.skip(str(missing))
    assert check_metrics(body + b"aoss_executions_total{ 1\n") != []
    assert check_metrics(b"# TYPE wrong counter\nwrong 1\n") != []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=latest", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
def test_the_format_follows_the_accept_header(pipeline: Pipeline, accept: str, content_type: str) -> None:
    """The content type answers the header, an unreadable header gets the plain text, and the body parses."""
    body, found = pipeline.exposition(accept)
    assert found == content_type
    if "openmetrics" in found:
        families = {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call] # upstream
        assert {"aoss_executions", "aoss_active_executions", "target"} <= families
    else:
        assert parse(body.decode()).keys() == scrape(pipeline).keys()


def test_concurrent_scrapes_each_show_every_series_once() -> None:
    """With the official SDK, two scrapes at the same moment neither double a series nor share it out."""
    pipeline = Pipeline.start(TelemetrySettings(provider=OFFICIAL_SDK))
    expected = {key for key in scrape(pipeline) if key[0].startswith("aoss_")}
    official = pipeline.endpoint
    assert isinstance(official, OfficialScrape)
    (collector,) = official.registry._collector_to_names
    collect = collector._callback  # type: ignore[attr-defined] # the official collector's
    both_have_collected = threading.Barrier(2)

    def collect_and_wait() -> None:
        collect()
        with suppress(threading.BrokenBarrierError):
            both_have_collected.wait(0.3)

    collector._callback = collect_and_wait  # type: ignore[attr-defined]
    found: list[object] = []

    def scrape_once() -> None:
        try:
            found.append({key for key in scrape(pipeline) if key[0].startswith("aoss_")})
        except AssertionError as error:
            found.append(error)

    threads = [threading.Thread(target=scrape_once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 2
    pipeline.shutdown()


def test_past_the_limit_measurements_go_to_the_overflow_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sets keep their series and go on counting, the rest share one, and the sum stays right."""
    pipeline = start(monkeypatch, AOSS_CARDINALITY_LIMIT="20")
    for n in range(50):
        pipeline.instruments.db_operations.add(1, {"operation": "select", "table": f"t{n}"})
    pipeline.instruments.db_operations.add(1, {"operation": "select", "table": "t0"})
    series = {k: v for k, v in scrape(pipeline).items() if k[0] == "aoss_db_operations_total"}
    assert len(series) == 21
    assert value(series, "aoss_db_operations_total", operation="select", table="t0") == 2.0
    assert value(series, "aoss_db_operations_total", otel_metric_overflow="true") == 30.0
    assert sum(series.values()) == 51.0
    pipeline.shutdown()


def test_servers_have_a_higher_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instruments with server_tag hold 20,000 sets where the others hold the general limit."""
    pipeline = start(monkeypatch, AOSS_CARDINALITY_LIMIT="20")
    for n in range(20_000):
        pipeline.instruments.executions.add(1, {"agent_type": "general", "server_tag": f"s{n}"})
    series = {k: v for k, v in scrape(pipeline).items() if k[0] == "aoss_executions_total"}
    # 4 zero series were there first.
    assert value(series, "aoss_executions_total", otel_metric_overflow="true") == 4.0
    assert (len(series), sum(series.values())) == (20_001, 20_000.0)
    pipeline.shutdown()


def test_values_that_text_cannot_carry_do_not_break_the_scrape(pipeline: Pipeline) -> None:
    """Quotes, line ends, lone surrogates and NaN durations leave a scrape that parses."""
    from telemetry.recorder import record_error  # noqa: PLC0415

    for odd in ('a"b\\c\nd', "\ud800", "ä€", ""):
        record_error(pipeline.instruments, odd, "general")
    duration = {"agent_type": "general", "status": "Failed"}
    for amount in (float("nan"), float("inf"), -1.0, 0.0):
        pipeline.instruments.execution_duration.record(amount, duration)
    series = scrape(pipeline)
    found = {dict(k[1]).get("error_type") for k, v in series.items() if v and "errors" in k[0]}
    assert found == {'a"b\\c\nd', "?", "ä€", None}
    assert value(series, "aoss_execution_duration_seconds_count", **duration) == 4.0
    assert value(series, "aoss_execution_duration_seconds_sum", **duration) == 0.0


@pytest.mark.parametrize(
    ("protocol", "receiver"), [("http/protobuf", http_receiver), ("grpc", grpc_receiver)]
)
def test_a_receiver_gets_what_the_scrape_shows(
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    receiver: Callable[[], AbstractContextManager[Received]],
    tmp_path: Path,
) -> None:
    """Over http/protobuf and gRPC the same values arrive as /metrics shows, at a flush and at shutdown.

    The headers come from a file, and are in nobody's environment afterwards.
    """
    (tmp_path / "headers").write_text("Authorization=Bearer%20s3cr3t")
    with receiver() as received:
        pipeline = start(
            monkeypatch,
            OTEL_METRICS_EXPORTER="prometheus,otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_ENDPOINT=received.endpoint,
            # Empty means unset: these two would stop the gRPC exporter.
            OTEL_EXPORTER_OTLP_TIMEOUT="",
            OTEL_EXPORTER_OTLP_INSECURE="",
            OTEL_SERVICE_NAME="ops",
            OTEL_EXPORTER_OTLP_HEADERS_FILE=str(tmp_path / "headers"),
        )
        assert "OTEL_EXPORTER_OTLP_HEADERS" not in os.environ
        pipeline.instruments.executions.add(7, START)
        pipeline.instruments.execution_duration.record(2.0, {"agent_type": "general", "status": "Success"})
        assert pipeline.force_flush() is True
        points, series = received.points(), scrape(pipeline)
        assert points[("aoss.executions", frozenset(START.items()))] == 7.0
        pushed = {
            (name.replace(".", "_"), labels): number
            for (name, labels), number in points.items()
            if name.startswith("aoss.")
        }
        scraped = {
            (re.sub("_total$|_seconds_count$", "", name), labels): number
            for (name, labels), number in series.items()
            if name.startswith("aoss_") and not name.endswith(("_bucket", "_sum"))
        }
        assert pushed == scraped
        assert received.resource()["service.name"] == "ops"
        assert received.authorization == "Bearer s3cr3t"
        pipeline.instruments.executions.add(1, START)
        pipeline.shutdown()
        assert received.points()[("aoss.executions", frozenset(START.items()))] == 8.0


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_dead_collector_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    """With nobody listening recording goes on, the log stays short, flush and shutdown keep their time."""
    pipeline = start(
        monkeypatch,
        OTEL_METRICS_EXPORTER="prometheus,otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_METRIC_EXPORT_INTERVAL="20",
    )
    begun = time.monotonic()
    assert pipeline.force_flush(timeout_seconds=0.3) is False
    pipeline.instruments.executions.add(1, START)
    assert value(scrape(pipeline), "aoss_executions_total", **START) == 1.0
    pipeline.shutdown(timeout_seconds=0.3)
    pipeline.shutdown(timeout_seconds=0.3)
    assert time.monotonic() - begun < 5
    lines = [r for r in caplog.records if r.levelno >= logging.WARNING and "opentelemetry" in r.name]
    assert len({r.msg for r in lines}) == len(lines)


def test_a_disabled_pipeline_works_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OTEL_SDK_DISABLED every call works and the scrape is empty and valid."""
    pipeline = start(monkeypatch, OTEL_SDK_DISABLED="true", OTEL_METRICS_EXPORTER="prometheus,otlp")
    pipeline.instruments.announce_server("web")
    pipeline.instruments.executions.add(1, START)
    assert pipeline.exposition() == (b"", "text/plain; version=0.0.4; charset=utf-8")
    assert pipeline.force_flush() is True
    pipeline.shutdown()


def test_bad_standard_values_are_logged_and_harmless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Values on which the SDK and its exporters raise leave a working pipeline, the environment unchanged."""
    bad = {
        "OTEL_METRICS_EXPORTER": "prometheus,otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "ten",
        "OTEL_METRICS_EXEMPLAR_FILTER": "sometimes",
        "OTEL_RESOURCE_ATTRIBUTES": "nonsense",
    }
    pipeline = start(monkeypatch, **bad)
    assert value(scrape(pipeline), "aoss_active_executions", agent_type="general") == 0.0
    keys = {r.getMessage().split("=")[0] for r in caplog.records if r.name == "telemetry.pipeline"}
    assert keys == {
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "OTEL_RESOURCE_ATTRIBUTES",
    }
    assert bad.items() <= os.environ.items()
    pipeline.shutdown(timeout_seconds=0.1)


def test_an_unknown_provider_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that no distribution registers is said, and the shared-memory provider measures instead."""
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", None)
    pipeline = start(monkeypatch, OTEL_PYTHON_METER_PROVIDER="nonesuch")
    pipeline.instruments.executions.add(1, START)
    assert value(scrape(pipeline), "aoss_executions_total", **START) == 1
    assert "the meter provider nonesuch cannot be had" in caplog.text
    pipeline.shutdown()
