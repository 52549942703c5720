"""A pipeline for each test, independent of the others."""

from collections.abc import Iterator

import pytest

from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """Give a pipeline with a scrape and nothing else."""
    started = Pipeline.start(TelemetrySettings.from_environment({}), rules=("no-mkfs",))
    yield started
    started.shutdown()
