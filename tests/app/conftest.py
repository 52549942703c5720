"""What tests of the backend share: one with its embedded defaults, and a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.settings import OFFICIAL_SDK, SHARED_MEMORY
from tests.support.backend import BackendProcess, running_backend
from tests.support.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="module", params=[SHARED_MEMORY, OFFICIAL_SDK])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """Return a running backend, one for each test file and SDK, for tests that leave it as it was."""
    environment = {"OTEL_PYTHON_METER_PROVIDER": request.param}
    with running_backend(tmp_path_factory.mktemp("backend") / "data", environment) as running:
        yield running


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data directory for a backend of one test."""
    return tmp_path / "data"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run a real PostgreSQL server."""
    with running_postgres() as server:
        yield server
