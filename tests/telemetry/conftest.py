"""A pipeline for each test, independent of the others, on our SDK and on the official one."""

from collections.abc import Iterator

import pytest

from telemetry.pipeline import Pipeline
from telemetry.settings import OFFICIAL_SDK, SHARED_MEMORY, TelemetrySettings


@pytest.fixture(params=[SHARED_MEMORY, OFFICIAL_SDK])
def pipeline(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """Give a pipeline with a scrape and nothing else."""
    settings = TelemetrySettings.from_environment({"OTEL_PYTHON_METER_PROVIDER": request.param})
    started = Pipeline.start(settings, rules=("no-mkfs",))
    yield started
    started.shutdown()
