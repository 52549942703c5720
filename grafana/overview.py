"""AOSS overview: do executions succeed, how fast, where do they fail, and does healing help."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import api_panels, execution_panels, failure_panels, objective_panels
from grafana.promql import SCRAPED
from grafana.shell import ALL, ALL_SCRAPED, Section, variable
from grafana.shell import dashboard as shell
from telemetry.catalogue import ACTIVE_EXECUTIONS, EXECUTIONS


def dashboard() -> Dashboard:
    """Return the dashboard."""
    # Both exist from the start of a service, before its first execution.
    active, started = ACTIVE_EXECUTIONS.prometheus_name, EXECUTIONS.prometheus_name
    return shell(
        "aoss-overview",
        "AOSS overview",
        "Do executions succeed, how fast, where do they fail, and does healing help?",
        [
            variable("job", "Job", active, ALL_SCRAPED),
            variable("instance", "Instance", f'{active}{{job=~"$job"}}', ALL_SCRAPED),
            variable("agent_type", "Agent type", f"{started}{{{SCRAPED}}}", ALL),
            variable("server_tag", "Server", f'{started}{{{SCRAPED},agent_type=~"$agent_type"}}', ALL),
        ],
        [
            Section(100, "Executions", execution_panels.now()),
            Section(200, "Objective", objective_panels.panels()),
            Section(300, "Agents and servers", execution_panels.where()),
            Section(400, "Durations", execution_panels.durations()),
            Section(500, "Errors, healing and compliance", failure_panels.panels()),
            Section(600, "API and database", api_panels.panels()),
        ],
    )
