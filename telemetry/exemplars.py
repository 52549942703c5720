"""Exemplars of executions: sampled where the Context carries an execution's id, with or without a tracer."""

from collections.abc import Mapping

from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.sdk.metrics import TraceBasedExemplarFilter
from opentelemetry.util.types import AnyValue, Attributes

EXECUTION_ID = "execution_id"

_KEY = create_key("aoss-execution")


def with_execution(execution: str) -> Context:
    """Return the current Context with an execution's id, which travels there and is never an attribute."""
    return set_value(_KEY, execution)


class ExecutionExemplarFilter(TraceBasedExemplarFilter):
    """Sample what belongs to a sampled span or to an execution; the exemplar names the execution."""

    def should_sample(
        self, value: float, time_unix_nano: int, attributes: Attributes, context: Context
    ) -> bool:
        """Tell whether a measurement is to be sampled."""
        return get_value(_KEY, context) is not None or super().should_sample(
            value, time_unix_nano, attributes, context
        )

    def exemplar_attributes(self, context: Context) -> Mapping[str, AnyValue]:
        """Return the execution's id."""
        execution = get_value(_KEY, context)
        return {} if execution is None else {EXECUTION_ID: str(execution)}
