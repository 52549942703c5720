"""The pipeline's own metrics: each moves when what it counts happens."""

import os
from pathlib import Path
from typing import Any

import pytest

from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings
from tests.support.otlp import http_receiver
from tests.telemetry.scraping import scrape
from tests.telemetry.sdk.support_metrics import Worker
from tests.telemetry.sdk.support_processes import wait_for


def start(directory: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Pipeline:
    """Start a pipeline in a directory, as the backend does."""
    for key in [key for key in os.environ if key.startswith(("OTEL_", "AOSS_"))]:
        monkeypatch.delenv(key)
    for key, text in {"AOSS_METRICS_DIR": str(directory / "m"), **variables}.items():
        monkeypatch.setenv(key, text)
    return Pipeline.start(TelemetrySettings.from_environment(os.environ))


def named(pipeline: Pipeline, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """Return the series of a metric in a scrape; the second of two, which shows what the first measured."""
    scrape(pipeline)
    return {labels: number for (found, labels), number in scrape(pipeline).items() if found == name}


def one(pipeline: Pipeline, name: str) -> float:
    """Return the value of a metric of one series."""
    (number,) = named(pipeline, name).values()
    return number


def test_collections_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape of the endpoint is counted, with its time, under the exporter's name."""
    pipeline = start(tmp_path, monkeypatch)
    source = pipeline._watch.source(pipeline.meter_provider)  # type: ignore[arg-type] # ours
    name = "otel_sdk_metric_reader_collection_duration_seconds"

    def collect() -> None:
        for _ in source.merge():
            pass

    collect()
    before = named(pipeline, f"{name}_count")
    (labels,) = before
    assert dict(labels)["otel_component_type"] == "prometheus_http_text_metric_exporter"
    collect()
    collect()
    assert {labels: before[labels] + 2} == named(pipeline, f"{name}_count")
    assert named(pipeline, f"{name}_sum")[labels] > 0
    pipeline.shutdown()


def test_exports_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The points that went out are counted, and apart from them those whose export failed."""
    name = "otel_sdk_exporter_metric_data_point_exported_total"
    with http_receiver() as received:
        pipeline = start(
            tmp_path,
            monkeypatch,
            OTEL_METRICS_EXPORTER="prometheus,otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=received.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="0.2",
        )
        assert pipeline.force_flush()
        wait_for(lambda: bool(named(pipeline, name)))
        exported = named(pipeline, name)
        (labels,) = exported
        assert dict(labels) == {
            "otel_component_type": "otlp_metric_exporter",
            "otel_component_name": "otlp_metric_exporter/0",
        }
        # The first export may be the one of a new leader.
        sent = [
            sum(
                len(getattr(metric, str(metric.WhichOneof("data"))).data_points)
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            )
            for request in received.requests
        ]
        assert exported[labels] == sum(sent)
    pipeline.force_flush()
    failed = {
        dict(labels).get("error_type"): number for labels, number in named(pipeline, name).items() if number
    }
    assert {None, "export_failed"} == set(failed)
    assert failed["export_failed"] >= sent[-1]
    pipeline.shutdown(timeout_seconds=1)


def test_refused_sets_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attribute set beyond the limit moves the count."""
    pipeline = start(tmp_path, monkeypatch, AOSS_CARDINALITY_LIMIT="50")
    name = "otel_sdk_metric_overflowed_sets_total"
    assert one(pipeline, name) == 0
    counter = pipeline.meter_provider.get_meter("test").create_counter("c")
    for number in range(53):
        counter.add(1, {"n": str(number)})
    assert one(pipeline, name) == 3
    pipeline.shutdown()


def test_dropped_series_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A series for which there is no space moves the count."""
    pipeline = start(tmp_path, monkeypatch)
    name = "otel_sdk_metric_dropped_series_total"
    assert one(pipeline, name) == 0

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    counter = pipeline.meter_provider.get_meter("test").create_counter("c")
    with monkeypatch.context() as full:
        full.setattr("telemetry.sdk.segment.SegmentWriter.allocate", refuse)
        counter.add(1, {"n": "new"})
    assert one(pipeline, name) == 1
    counter.add(1, {"n": "new"})
    assert one(pipeline, name) == 1
    assert one(pipeline, "c_total") == 1
    pipeline.shutdown()


def test_workers_and_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live workers, those that died and were folded, and files that cannot be read."""
    pipeline = start(tmp_path, monkeypatch)
    live, folded, skipped = (
        "otel_sdk_worker_live",
        "otel_sdk_worker_folded_total",
        "otel_sdk_worker_skipped_segments",
    )
    pipeline.instruments.executions.add(1, {"agent_type": "general", "server_tag": "web"})
    assert [one(pipeline, name) for name in (live, folded, skipped)] == [1, 0, 0]
    with Worker.started(tmp_path / "m") as worker:
        worker.do("meter.create_counter('c').add(1)")
        assert one(pipeline, live) == 2
        worker.kill()
        wait_for(lambda: one(pipeline, folded) == 1)
        assert one(pipeline, live) == 1
    (tmp_path / "m" / "broken.segment").write_bytes(b"not a segment" * 1000)
    assert one(pipeline, skipped) == 1
    pipeline.shutdown()


def test_a_failing_watch_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is connected, and after shutdown, the watch counts nothing and raises nothing."""
    pipeline = start(tmp_path, monkeypatch)
    pipeline.shutdown()
    pipeline._watch.count_exported(1, {})
    pipeline._watch.time_collection(0.1)
    assert pipeline.exposition()[0].startswith(b"# ")
