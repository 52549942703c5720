"""The provider: its life, in this process and by the entry points of the API."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, NoOpMeter, Observation
from opentelemetry.sdk.metrics import MeterProvider as OfficialProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader, MetricsData

from telemetry.sdk import MeterProvider
from tests.telemetry.sdk.support_metrics import drain, key, provider_in, scraped
from tests.telemetry.sdk.support_processes import output, python, wait_for


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """Give a reader of the official SDK."""
    return InMemoryMetricReader()


@pytest.fixture
def provider(tmp_path: Path, reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    """Give a provider that a test may shut down itself."""
    made = MeterProvider([reader], directory=tmp_path / "m", shutdown_on_exit=False)
    yield made
    if made.get_meter("test").__class__ is not NoOpMeter:
        made.shutdown()


def test_after_shutdown_nothing_happens(
    provider: MeterProvider, reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    """Instruments drop, meters are no-ops, scrapes and collections are empty, another shutdown is logged."""
    meter = provider.get_meter("test")
    counter, gauge = meter.create_counter("c"), meter.create_gauge("g")
    bound: Any = counter.bind({"k": "v"})  # type: ignore[attr-defined] # beyond the API
    counter.add(1)
    called: list[int] = []

    def observe(_: CallbackOptions) -> list[Observation]:
        called.append(1)
        return [Observation(1)]

    meter.create_observable_gauge("o", [observe])
    provider.shutdown()
    seen = len(called)
    with caplog.at_level(logging.WARNING):
        provider.shutdown()
    assert "shutdown can only be called once" in caplog.text
    counter.add(1)
    bound.add(1)
    gauge.set(1)
    meter.create_histogram("h").record(1)
    provider.observe()
    assert isinstance(provider.get_meter("other"), NoOpMeter)
    assert reader.get_metrics_data() is None
    assert drain(provider.merge()).streams == []
    assert len(called) - seen <= 1
    assert provider.force_flush()


def test_what_was_recorded_stays_for_the_others(tmp_path: Path, provider: MeterProvider) -> None:
    """A worker that shuts down leaves its counts to the run, and its up-down counters not."""
    meter = provider.get_meter("test")
    meter.create_counter("c").add(2)
    meter.create_up_down_counter("u").add(2)
    with provider_in(tmp_path / "m") as other:
        assert {"c": {key(): 2}, "u": {key(): 2}} == scraped(other)
        provider.shutdown()
        assert {"c": {key(): 2}} == scraped(other)


def test_shutdown_by_several_threads_happens_once(tmp_path: Path) -> None:
    """One of many concurrent shutdowns shuts the readers down."""

    class Counting(MetricReader):
        was_shut_down = 0

        def _receive_metrics(
            self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
        ) -> None:
            """Do nothing."""

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            self.was_shut_down += 1

    counting = Counting()
    provider = MeterProvider([counting], directory=tmp_path / "m", shutdown_on_exit=False)
    provider.get_meter("test").create_counter("c").add(1)
    threads = [threading.Thread(target=provider.shutdown) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert counting.was_shut_down == 1


def test_no_thread_outlives_shutdown(tmp_path: Path) -> None:
    """The duties of a worker end with its provider."""
    before = set(threading.enumerate())
    with provider_in(tmp_path / "m") as provider:
        provider.get_meter("test").create_counter("c").add(1)
        assert set(threading.enumerate()) - before
    wait_for(lambda: not set(threading.enumerate()) - before)


def test_a_reader_that_hangs_at_shutdown_is_left(tmp_path: Path) -> None:
    """Flush and shutdown keep their time where a reader of somebody else's takes for ever."""
    go_on = threading.Event()

    class Hanging(MetricReader):
        def _receive_metrics(
            self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
        ) -> None:
            go_on.wait(30)

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            go_on.wait(30)

    provider = MeterProvider([Hanging()], directory=tmp_path / "m", shutdown_on_exit=False)
    try:
        provider.get_meter("test").create_counter("c").add(1)
        begun = time.monotonic()
        with pytest.raises(Exception, match="Hanging: TimeoutError"):
            provider.force_flush(timeout_millis=100)
        with pytest.raises(Exception, match="Hanging: TimeoutError"):
            provider.shutdown(timeout_millis=100)
        assert time.monotonic() - begun < 10
    finally:
        go_on.set()


def test_recording_while_readers_come_and_go(tmp_path: Path) -> None:
    """No measurement is lost or doubled while readers are added, collect and are removed."""
    with provider_in(tmp_path / "m") as provider:
        counter = provider.get_meter("test").create_counter("c")
        stopping = threading.Event()

        def churn() -> None:
            while not stopping.is_set():
                reader = InMemoryMetricReader()
                provider.add_metric_reader(reader)
                reader.get_metrics_data()
                provider.remove_metric_reader(reader)

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for number in range(5000):
                counter.add(1, {"k": str(number % 7)})
        finally:
            stopping.set()
            thread.join(20)
        assert sum(scraped(provider)["c"].values()) == 5000


def test_the_same_keywords_as_the_official_one(tmp_path: Path) -> None:
    """Whatever the official provider is given by name, ours takes too."""
    reader = InMemoryMetricReader()
    given: dict[str, Any] = {
        "metric_readers": [reader],
        "resource": None,
        "exemplar_filter": None,
        "shutdown_on_exit": False,
        "views": (),
        "_meter_configurator": None,
    }
    official = OfficialProvider(**{**given, "metric_readers": []})
    official.shutdown()
    provider = MeterProvider(**given, directory=tmp_path / "m")
    provider.get_meter("test").create_counter("c").add(1)
    assert reader.get_metrics_data() is not None
    provider.shutdown()


def test_disabled_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OTEL_SDK_DISABLED=true meters drop, and no file is made; with another word they work."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with provider_in(tmp_path / "m") as provider:
        provider.get_meter("test").create_counter("c").add(1)
        assert scraped(provider) == {}
    assert not (tmp_path / "m").exists()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "yes")
    with provider_in(tmp_path / "m") as provider:
        provider.get_meter("test").create_counter("c").add(1)
        assert {"c": {key(): 1}} == scraped(provider)


BY_THE_API = """
import json, os
from opentelemetry import metrics
counter = metrics.get_meter("library").create_counter("early")
counter.add(2)
provider = metrics.get_meter_provider()
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
add = getattr(provider, "add_metric_reader", None)
add(reader)
counter.add(3)
data = reader.get_metrics_data()
value = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].value
print(json.dumps([type(provider).__module__, value]))
"""


def test_the_api_builds_it_by_name() -> None:
    """With OTEL_PYTHON_METER_PROVIDER=shared_memory the first library's meter is ours, counts included."""
    lines = output(
        python(BY_THE_API),
        {"OTEL_PYTHON_METER_PROVIDER": "shared_memory", "OTEL_SERVICE_NAME": "built-by-the-api"},
    )
    assert json.loads(lines[-1]) == ["telemetry.sdk.provider", 5]


BY_THE_PIPELINE = """
import json, os
from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings
pipeline = Pipeline.start(TelemetrySettings.from_environment(os.environ))
from opentelemetry import metrics
metrics.get_meter("library").create_counter("early").add(5)
text, _ = pipeline.exposition()
(line,) = [line for line in text.decode().splitlines() if line.startswith("early_total ")]
print(json.dumps([type(metrics.get_meter_provider()).__module__.partition(".")[0], float(line.split()[1])]))
pipeline.shutdown()
"""


@pytest.mark.parametrize(
    ("name", "package"),
    [("", "telemetry"), ("shared_memory", "telemetry"), ("sdk_meter_provider", "opentelemetry")],
)
def test_the_pipeline_sets_the_one_that_is_named(name: str, package: str) -> None:
    """OTEL_PYTHON_METER_PROVIDER chooses what the pipeline makes the API's provider, ours if it is empty."""
    lines = output(python(BY_THE_PIPELINE), {"OTEL_PYTHON_METER_PROVIDER": name})
    assert json.loads(lines[-1]) == [package, 5.0]


AT_EXIT = """
import sys
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from telemetry.sdk import MeterProvider
reader = PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=3_600_000)
provider = MeterProvider([reader], directory=sys.argv[1])
counter = provider.get_meter("test").create_counter("c")
counter.add(1)
provider.force_flush()
counter.add(6)
"""


def test_the_end_of_the_interpreter_exports(tmp_path: Path) -> None:
    """A process that just ends exports what it counted."""
    lines = output(python(AT_EXIT, str(tmp_path / "m")))
    found = [line.strip(" ,") for line in lines if '"value"' in line]
    assert found[-1] == '"value": 7'
