"""AOSS pipeline health: do the numbers on the other dashboard arrive whole."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import backend_panels, collector_panels, prometheus_panels
from grafana.names import UP
from grafana.shell import ALL_SCRAPED, Section, variable
from grafana.shell import dashboard as shell


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return shell(
        "aoss-pipeline",
        "AOSS pipeline health",
        "Do the numbers arrive whole? Scrapes, workers and series, exports, Collector, Prometheus.",
        [
            variable("job", "Job", UP, ALL_SCRAPED),
            variable("instance", "Instance", f'{UP}{{job=~"$job"}}', ALL_SCRAPED),
        ],
        [
            Section(100, "Scrapes", prometheus_panels.scrapes()),
            Section(200, "Backend", backend_panels.panels()),
            Section(300, "Collector", collector_panels.panels()),
            Section(400, "Prometheus", prometheus_panels.itself()),
        ],
    )
