"""The metrics of calls to a language model."""

from dataclasses import dataclass

import pytest

from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings
from tests.telemetry.scraping import nonzero, scrape, value


@dataclass(frozen=True)
class Call:
    """A finished call, as the planner reports it."""

    operation: str = "chat"
    model: str = "small"
    duration: float = 0.5
    input_tokens: int | None = 100
    output_tokens: int | None = 7
    error_type: str | None = None


CALL = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "small",
}


@pytest.fixture
def pipeline() -> Pipeline:
    """Give a pipeline with the GenAI metrics on."""
    return Pipeline.start(TelemetrySettings(genai_metrics=True))


def test_a_call_is_measured_by_the_conventions(pipeline: Pipeline) -> None:
    """Duration and token counts carry the conventions' attributes; error.type only on failure."""
    pipeline.record_model_call(Call())
    pipeline.record_model_call(Call(input_tokens=None, output_tokens=None, error_type="timeout"))
    series = scrape(pipeline)
    assert nonzero(series, "gen_ai_") == {
        ("gen_ai_client_operation_duration_seconds_count", frozenset(CALL.items())): 1.0,
        (
            "gen_ai_client_operation_duration_seconds_count",
            frozenset({**CALL, "error_type": "timeout"}.items()),
        ): 1.0,
        ("gen_ai_client_token_usage_count", frozenset({**CALL, "gen_ai_token_type": "input"}.items())): 1.0,
        ("gen_ai_client_token_usage_count", frozenset({**CALL, "gen_ai_token_type": "output"}.items())): 1.0,
    }
    pipeline.shutdown()


def test_buckets_are_the_conventions(pipeline: Pipeline) -> None:
    """Durations have 0.01 x 2^n up to 81.92 seconds, tokens 4^n."""
    pipeline.record_model_call(Call())
    series = scrape(pipeline)
    bounds: dict[str, list[float]] = {}
    for name, labels in series:
        if name.startswith("gen_ai_") and name.endswith("_bucket"):
            bounds.setdefault(name, []).append(float(dict(labels)["le"]))
    expected = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    assert bounds["gen_ai_client_operation_duration_seconds_bucket"] == [*expected, float("inf")]
    tokens = sorted(set(bounds["gen_ai_client_token_usage_bucket"]))
    assert tokens == [*(4.0**n for n in range(14)), float("inf")]
    pipeline.shutdown()


def test_without_the_setting_nothing_is_measured() -> None:
    """The instruments do not exist unless AOSS_GENAI_METRICS is true, and reporting a call does no harm."""
    pipeline = Pipeline.start(TelemetrySettings())
    pipeline.record_model_call(Call())
    series = scrape(pipeline)
    assert nonzero(series, "gen_ai_") == {}
    assert value(series, "aoss_active_executions", agent_type="general") == 0.0
    pipeline.shutdown()
