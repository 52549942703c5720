"""The port of its own for the scrape, as the settings ask for it."""

import time

import httpx
import pytest

from telemetry.pipeline import Pipeline
from telemetry.settings import OFFICIAL_SDK, TelemetrySettings
from tests.support.backend import free_port


def answer(port: int, **headers: str) -> int | None:
    """Return the status of a scrape, None where nobody listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers, trust_env=False).status_code
    except httpx.TransportError:
        return None


def wait_for_answer(port: int) -> int | None:
    """Return the first answer, waiting for it."""
    deadline = time.monotonic() + 10
    while (status := answer(port)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return status


@pytest.fixture
def port() -> int:
    """Give a loopback port that nobody uses at this moment."""
    return free_port()


def test_the_port_serves_and_wants_the_token(port: int) -> None:
    """It answers with the token only, and is free again after the shutdown."""
    settings = TelemetrySettings.from_environment(
        {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"}
    )
    pipeline = Pipeline.start(settings)
    pipeline.serve_scrapes("secret")
    assert wait_for_answer(port) == 401
    assert answer(port, authorization="Bearer secret") == 200
    pipeline.shutdown()
    assert answer(port) is None


def test_strangers_need_a_token(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """On an address that others reach nothing is served without a token, and the log says so."""
    pipeline = Pipeline.start(TelemetrySettings(scrape_port=port, scrape_host="0.0.0.0"))  # noqa: S104 - refused
    pipeline.serve_scrapes(None)
    assert answer(port) is None
    assert "not served on 0.0.0.0 without a token" in caplog.text
    pipeline.shutdown()


def test_an_address_that_cannot_be_had_stops_nothing(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where the port's address is not of this machine the log says so, and the pipeline works."""
    pipeline = Pipeline.start(TelemetrySettings(scrape_port=port, scrape_host="192.0.2.1"))
    pipeline.serve_scrapes("secret")
    assert f"metrics cannot be served at 192.0.2.1:{port}" in caplog.text
    assert pipeline.exposition()[0]
    pipeline.shutdown()


def test_no_exporter_no_port(port: int) -> None:
    """Where the exporters do not name Prometheus, a port does not bring it back."""
    pipeline = Pipeline.start(TelemetrySettings(scrape_port=port, scrape_host="127.0.0.1", exporters=()))
    pipeline.serve_scrapes("secret")
    assert answer(port) is None
    assert pipeline._server is None
    pipeline.shutdown()


def test_the_official_sdk_has_no_port(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Under the official SDK nothing listens at the port, and the log says so."""
    pipeline = Pipeline.start(TelemetrySettings(scrape_port=port, provider=OFFICIAL_SDK))
    pipeline.serve_scrapes("secret")
    assert "no port of their own under the meter provider sdk_meter_provider" in caplog.text
    pipeline.shutdown()


def test_without_the_variables_nothing_listens(port: int) -> None:
    """No port is opened unless one is asked for."""
    pipeline = Pipeline.start(TelemetrySettings(scrape_port=None))
    pipeline.serve_scrapes(None)
    assert answer(9464) is None
    assert answer(port) is None
    pipeline.shutdown()
