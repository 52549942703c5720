"""The AOSS instruments on a Meter; recording through them never raises."""

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import product

from opentelemetry import metrics
from opentelemetry.context import Context

from telemetry import catalogue
from telemetry.failures import Failures
from telemetry.labels import AgentType, Decision

Attributes = Mapping[str, str]


def attribute_value(value: object) -> str:
    """Return the plain text of an attribute value.

    An exact `str` matters: a subclass such as a StrEnum member, or True beside "true", would make a second
    series with the same text. What UTF-8 cannot carry is replaced: a lone surrogate would break every scrape.
    """
    text = str(value.value) if isinstance(value, Enum) else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class Counter:
    """Add to a counter or an up-down counter; a failure is reported, never raised."""

    __slots__ = ("_failures", "_name", "instrument")

    def __init__(
        self, instrument: metrics.Counter | metrics.UpDownCounter, name: str, failures: Failures
    ) -> None:
        self.instrument = instrument
        self._name = name
        self._failures = failures

    def add(self, amount: int, attributes: Attributes) -> None:
        """Add an amount to one series."""
        try:
            self.instrument.add(amount, attributes)
        except Exception:  # noqa: BLE001 - telemetry never raises into its caller
            self._failures.report(self._name)


class Histogram:
    """Record into a histogram; a failure is reported, never raised."""

    __slots__ = ("_failures", "_name", "instrument")

    def __init__(self, instrument: metrics.Histogram, name: str, failures: Failures) -> None:
        self.instrument = instrument
        self._name = name
        self._failures = failures

    def record(self, amount: float, attributes: Attributes, context: Context | None = None) -> None:
        """Record an amount; a negative or non-finite one as 0, so that counts stay equal to counters.

        The Context, the current one where none is given, says whether it is sampled as an exemplar.
        """
        try:
            self.instrument.record(amount if 0 <= amount < math.inf else 0.0, attributes, context)
        except Exception:  # noqa: BLE001 - telemetry never raises into its caller
            self._failures.report(self._name)


class Instruments:
    """Every instrument of the catalogue, created on one Meter; safe for concurrent use."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.failures = Failures()
        self._meter = meter
        self.executions = self._counter(catalogue.EXECUTIONS)
        self.executions_completed = self._counter(catalogue.EXECUTIONS_COMPLETED)
        self.execution_steps = self._counter(catalogue.EXECUTION_STEPS)
        self.execution_errors = self._counter(catalogue.EXECUTION_ERRORS)
        self.execution_duration = self._histogram(catalogue.EXECUTION_DURATION)
        self.active_executions = self._counter(catalogue.ACTIVE_EXECUTIONS)
        self.self_healing_attempts = self._counter(catalogue.SELF_HEALING_ATTEMPTS)
        self.api_requests = self._counter(catalogue.API_REQUESTS)
        self.db_operations = self._counter(catalogue.DB_OPERATIONS)
        self.execution_step_duration = self._histogram(catalogue.EXECUTION_STEP_DURATION)
        self.compliance_checks = self._counter(catalogue.COMPLIANCE_CHECKS)
        self._by_declaration = {
            catalogue.EXECUTIONS: self.executions,
            catalogue.EXECUTIONS_COMPLETED: self.executions_completed,
            catalogue.EXECUTION_STEPS: self.execution_steps,
            catalogue.EXECUTION_ERRORS: self.execution_errors,
            catalogue.ACTIVE_EXECUTIONS: self.active_executions,
            catalogue.SELF_HEALING_ATTEMPTS: self.self_healing_attempts,
        }

    def create_zero_series(self) -> None:
        """Give every series that is known at start the value 0, so that a rate sees its first event."""
        for declaration, counter in self._by_declaration.items():
            for attributes in known_series(declaration):
                counter.add(0, attributes)
        self.announce_rules(())

    def announce_server(self, tag: str) -> None:
        """Give every series of a registered server the value 0; does nothing to one that has counted."""
        for declaration in (catalogue.EXECUTIONS, catalogue.EXECUTIONS_COMPLETED):
            for attributes in known_series(declaration, server_tag=tag):
                self._by_declaration[declaration].add(0, attributes)

    def announce_rules(self, rules: Iterable[str]) -> None:
        """Give the series of allowed commands, and of those denied by each of the rules, the value 0."""
        decisions = [(Decision.ALLOWED, catalogue.NO_RULE), *((Decision.DENIED, rule) for rule in rules)]
        for agent_type, (decision, rule) in product(AgentType, decisions):
            attributes = {"agent_type": agent_type, "decision": decision, "rule": rule}
            self.compliance_checks.add(0, {k: attribute_value(v) for k, v in attributes.items()})

    def _counter(self, declaration: catalogue.Instrument) -> Counter:
        create = (
            self._meter.create_up_down_counter
            if declaration.kind is catalogue.Kind.UP_DOWN_COUNTER
            else self._meter.create_counter
        )
        instrument = create(declaration.name, unit=declaration.unit, description=declaration.description)
        return Counter(instrument, declaration.name, self.failures)

    def _histogram(self, declaration: catalogue.Instrument) -> Histogram:
        return create_histogram(self._meter, declaration, self.failures)


def create_histogram(
    meter: metrics.Meter, declaration: catalogue.Instrument, failures: Failures
) -> Histogram:
    """Create a histogram whose bounds hold under any MeterProvider, with or without views."""
    instrument = meter.create_histogram(
        declaration.name,
        unit=declaration.unit,
        description=declaration.description,
        explicit_bucket_boundaries_advisory=declaration.buckets,
    )
    return Histogram(instrument, declaration.name, failures)


def known_series(declaration: catalogue.Instrument, **given: str) -> Iterator[dict[str, str]]:
    """Yield the attribute sets of an instrument that are known, with the given values fixed."""
    keys = [attribute.key for attribute in declaration.attributes]
    choices = [
        (given[attribute.key],) if attribute.key in given else attribute.values or attribute.initial
        for attribute in declaration.attributes
    ]
    for values in product(*choices):
        yield dict(zip(keys, map(attribute_value, values), strict=True))
