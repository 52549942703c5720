"""The catalogue against the contract, and the scrape against both."""

from itertools import product

from telemetry.catalogue import CATALOGUE, Kind
from telemetry.labels import AgentType
from telemetry.pipeline import Pipeline
from tests.telemetry.scraping import scrape, value

# The table of the metrics' contract, as literal data.
CONTRACT = {
    ("aoss.executions", "Counter", "{execution}", ("agent_type", "server_tag"), "aoss_executions_total"),
    (
        "aoss.executions.completed",
        "Counter",
        "{execution}",
        ("agent_type", "server_tag", "status"),
        "aoss_executions_completed_total",
    ),
    ("aoss.execution.steps", "Counter", "{step}", ("agent_type", "status"), "aoss_execution_steps_total"),
    (
        "aoss.execution.errors",
        "Counter",
        "{error}",
        ("error_type", "agent_type"),
        "aoss_execution_errors_total",
    ),
    (
        "aoss.execution.duration",
        "Histogram",
        "s",
        ("agent_type", "status"),
        "aoss_execution_duration_seconds",
    ),
    ("aoss.active_executions", "UpDownCounter", "{execution}", ("agent_type",), "aoss_active_executions"),
    (
        "aoss.self_healing.attempts",
        "Counter",
        "{attempt}",
        ("agent_type", "success"),
        "aoss_self_healing_attempts_total",
    ),
    (
        "aoss.api.requests",
        "Counter",
        "{request}",
        ("method", "endpoint", "status_code"),
        "aoss_api_requests_total",
    ),
    ("aoss.db.operations", "Counter", "{operation}", ("operation", "table"), "aoss_db_operations_total"),
    (
        "aoss.execution.step.duration",
        "Histogram",
        "s",
        ("agent_type", "status"),
        "aoss_execution_step_duration_seconds",
    ),
    (
        "aoss.compliance.checks",
        "Counter",
        "{check}",
        ("agent_type", "decision", "rule"),
        "aoss_compliance_checks_total",
    ),
}
BOUNDS = [
    "0.05",
    "0.1",
    "0.25",
    "0.5",
    "1.0",
    "2.5",
    "5.0",
    "10.0",
    "30.0",
    "60.0",
    "120.0",
    "300.0",
    "600.0",
    "1800.0",
    "+Inf",
]


def test_catalogue_is_the_contract() -> None:
    """Every instrument of the contract is declared, with its kind, unit, attributes and Prometheus name."""
    declared = {
        (i.name, str(i.kind), i.unit, tuple(a.key for a in i.attributes), i.prometheus_name)
        for i in CATALOGUE
    }
    assert declared == CONTRACT


def test_scrape_has_the_declared_names_labels_and_buckets(pipeline: Pipeline) -> None:
    """One measurement on every instrument comes out under its Prometheus name, labels and bounds."""
    instruments = pipeline.instruments
    for declaration in CATALOGUE:
        attributes = {attribute.key: "probe" for attribute in declaration.attributes}
        attribute_name = declaration.name.removeprefix("aoss.").replace(".", "_")
        instrument = getattr(instruments, attribute_name)
        if declaration.kind is Kind.HISTOGRAM:
            instrument.record(0.3, attributes)
        else:
            instrument.add(3, attributes)
    series = scrape(pipeline)
    for declaration in CATALOGUE:
        labels = {attribute.key: "probe" for attribute in declaration.attributes}
        if declaration.kind is Kind.HISTOGRAM:
            buckets = [
                value(series, f"{declaration.prometheus_name}_bucket", **labels, le=bound) for bound in BOUNDS
            ]
            assert buckets == [0.0, 0.0, 0.0] + [1.0] * 12
            assert value(series, f"{declaration.prometheus_name}_sum", **labels) == 0.3
        else:
            assert value(series, declaration.prometheus_name, **labels) == 3.0


def test_attributes_outside_the_declaration_are_dropped(pipeline: Pipeline) -> None:
    """An attribute that the catalogue does not know never becomes a label."""
    pipeline.instruments.active_executions.add(1, {"agent_type": "general", "command": "rm -rf /"})
    assert value(scrape(pipeline), "aoss_active_executions", agent_type="general") == 1.0


AGENTS = ["general", "network", "database", "security"]
STATUSES = ["Success", "Failed", "Cancelled", "Interrupted"]
ERRORS = [
    "system_error",
    "connection_error",
    "authentication_error",
    "timeout_error",
    "command_error",
    "planner_error",
    "compliance_violation",
]


def test_every_known_series_is_zero_at_start(pipeline: Pipeline) -> None:
    """Before the first event a scrape shows exactly the known series, each with the value 0."""
    pipeline.instruments.announce_server("prod-web-01")
    expected = set()
    for agent, tag in product(AGENTS, ["unknown", "prod-web-01"]):
        expected.add(("aoss_executions_total", frozenset({("agent_type", agent), ("server_tag", tag)})))
        for status in STATUSES:
            labels = {("agent_type", agent), ("server_tag", tag), ("status", status)}
            expected.add(("aoss_executions_completed_total", frozenset(labels)))
    for agent in AGENTS:
        expected.add(("aoss_active_executions", frozenset({("agent_type", agent)})))
        for label, name, values in (
            ("status", "aoss_execution_steps_total", ["Success", "Failed"]),
            ("error_type", "aoss_execution_errors_total", ERRORS),
            ("success", "aoss_self_healing_attempts_total", ["true", "false"]),
        ):
            expected |= {(name, frozenset({("agent_type", agent), (label, v)})) for v in values}
        for decision, rule in (("allowed", "none"), ("denied", "no-mkfs")):
            labels = {("agent_type", agent), ("decision", decision), ("rule", rule)}
            expected.add(("aoss_compliance_checks_total", frozenset(labels)))
    found = {key: number for key, number in scrape(pipeline).items() if key[0].startswith("aoss_")}
    assert found == dict.fromkeys(expected, 0.0)


def test_announcing_a_server_again_keeps_its_counts(pipeline: Pipeline) -> None:
    """A server registered anew after a delete goes on counting where it was."""
    attributes = {"agent_type": "general", "server_tag": "web"}
    pipeline.instruments.executions.add(2, attributes)
    pipeline.instruments.announce_server("web")
    assert value(scrape(pipeline), "aoss_executions_total", **attributes) == 2.0


def test_enum_members_and_plain_strings_are_one_series(pipeline: Pipeline) -> None:
    """A StrEnum member and its text never make two lines of one series."""
    from telemetry.recorder import record_error  # noqa: PLC0415

    record_error(pipeline.instruments, "planner_error", AgentType.NETWORK)
    record_error(pipeline.instruments, "planner_error", "network")
    name, labels = "aoss_execution_errors_total", {"agent_type": "network", "error_type": "planner_error"}
    assert value(scrape(pipeline), name, **labels) == 2.0
