"""Metrics of calls to a language model, under the names of the OpenTelemetry GenAI conventions.

The conventions are in development status, so the instruments exist only where AOSS_GENAI_METRICS is true.
Source: semantic conventions, "Generative AI metrics".
"""

from typing import Protocol

from opentelemetry import metrics

from telemetry.catalogue import Attribute, Instrument, Kind
from telemetry.failures import Failures
from telemetry.instruments import attribute_value, create_histogram

_CALL = (
    Attribute("gen_ai.operation.name"),
    Attribute("gen_ai.provider.name"),
    Attribute("gen_ai.request.model"),
)

OPERATION_DURATION = Instrument(
    name="gen_ai.client.operation.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="GenAI operation duration.",
    attributes=(*_CALL, Attribute("error.type")),
    prometheus_name="gen_ai_client_operation_duration_seconds",
    buckets=tuple(0.01 * 2**n for n in range(14)),
)
TOKEN_USAGE = Instrument(
    name="gen_ai.client.token.usage",
    kind=Kind.HISTOGRAM,
    unit="{token}",
    description="Number of input and output tokens used.",
    attributes=(*_CALL, Attribute("gen_ai.token.type", ("input", "output"))),
    prometheus_name="gen_ai_client_token_usage",
    buckets=tuple(float(4**n) for n in range(14)),
)

# What the conventions ask for where an endpoint speaks the OpenAI protocol and says no more of itself.
_PROVIDER = "openai"


class ModelCall(Protocol):
    """A finished call to a model.

    `operation` is a name of the conventions, such as `chat`; `duration` is in seconds; token counts are None
    where the provider reported none, `error_type` is None where the call succeeded.
    """

    @property
    def operation(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def error_type(self) -> str | None: ...


class GenAIMetrics:
    """Record calls to a language model; a failure is reported, never raised."""

    def __init__(self, meter: metrics.Meter, failures: Failures) -> None:
        self._duration = create_histogram(meter, OPERATION_DURATION, failures)
        self._tokens = create_histogram(meter, TOKEN_USAGE, failures)

    def record_model_call(self, call: ModelCall) -> None:
        """Record one call: its duration, and the tokens that the provider reported."""
        attributes = {
            "gen_ai.operation.name": attribute_value(call.operation),
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": attribute_value(call.model),
        }
        failed = {"error.type": attribute_value(call.error_type)} if call.error_type else {}
        self._duration.record(call.duration, attributes | failed)
        for token_type, tokens in (("input", call.input_tokens), ("output", call.output_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, {**attributes, "gen_ai.token.type": token_type})
