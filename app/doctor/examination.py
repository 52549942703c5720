"""All sections in the order in which the data flows."""

from dataclasses import dataclass, field

from app.doctor import collector, grafana, prometheus
from app.doctor.backend import examine_backend
from app.doctor.collector import examine_collector
from app.doctor.findings import Finding, Section
from app.doctor.grafana import examine_grafana
from app.doctor.prometheus import examine_prometheus
from app.doctor.web import Web


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is; None is not examined. `grafana_authorization` is the header for Grafana's API."""

    backend: str
    prometheus: str | None = None
    collector: str | None = None
    collector_metrics: str | None = None
    grafana: str | None = None
    token: str | None = field(default=None, repr=False)
    grafana_authorization: str | None = field(default=None, repr=False)


def examine(addresses: Addresses) -> list[Finding]:
    """Return the findings of all sections; takes seconds, and at most a minute where everything hangs."""
    with Web() as web:
        findings, scrape = examine_backend(web, addresses.backend, addresses.token)
        if addresses.prometheus is None:
            findings += _not_asked("prometheus", prometheus.CHECKS, "--prometheus URL")
        else:
            findings += examine_prometheus(web, addresses.prometheus)
        if addresses.collector is None and addresses.collector_metrics is None:
            findings += _not_asked("collector", collector.CHECKS, "--collector URL")
        else:
            findings += examine_collector(web, addresses.collector, addresses.collector_metrics, scrape)
        if addresses.grafana is None:
            findings += _not_asked("grafana", grafana.CHECKS, "--grafana URL")
        else:
            findings += examine_grafana(web, addresses.grafana, addresses.grafana_authorization)
    return findings


def _not_asked(name: str, checks: tuple[str, ...], option: str) -> list[Finding]:
    section = Section(name, checks)
    section.skip_rest("not checked", f"Give {option}")
    return section.findings
