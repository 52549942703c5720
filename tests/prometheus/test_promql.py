"""The PromQL of rules and runbooks: parsed by Prometheus itself, and held against the catalogue."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from telemetry.catalogue import CATALOGUE, Instrument, Kind
from telemetry.watching import COLLECTION_DURATION, SELF_METRICS
from tests.prometheus.files import RULES, RUNBOOKS, fenced, found, read, rules
from tests.support.stack.prometheus import PrometheusServer, running_prometheus

# What neither the catalogue nor a rule of ours makes: Prometheus' own, the Collector's, the standard ones.
OTHERS = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "scrape_sample_limit",
    "scrape_timeout_seconds",
    "prometheus_config_last_reload_success_timestamp_seconds",
    "prometheus_config_last_reload_successful",
    "prometheus_notifications_alertmanagers_discovered",
    "prometheus_notifications_dropped_total",
    "prometheus_notifications_errors_total",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_rule_group_iterations_missed_total",
    "prometheus_rule_group_last_duration_seconds",
    "otelcol_exporter_enqueue_failed_metric_points",
    "otelcol_exporter_prometheusremotewrite_failed_translations",
    "otelcol_exporter_prometheusremotewrite_wal_bytes_written",
    "otelcol_exporter_prometheusremotewrite_wal_lag",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_queue_size",
    "otelcol_exporter_send_failed_metric_points",
    "otelcol_exporter_sent_metric_points",
    "otelcol_process_memory_rss",
    "otelcol_process_uptime",
    "otelcol_receiver_refused_metric_points",
    "process_cpu_time_seconds_total",
    "process_memory_usage_bytes",
}
TARGET_LABELS = {"job", "instance", "le"}

Selected = list[tuple[str, dict[str, Any]]]

QUERIES = [(rule.alert or rule.record, rule.expr) for rule in rules()] + [
    (path.name, query) for path in sorted(RUNBOOKS.glob("*.md")) for query in fenced(path, "promql")
]


def series_of(name: str, *, histogram: bool) -> set[str]:
    """Return the names under which Prometheus stores a metric."""
    return {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if histogram else {name}


def instruments() -> dict[str, Instrument]:
    """Return the catalogue's instruments by every name of their series."""
    return {
        name: each
        for each in CATALOGUE
        for name in series_of(each.prometheus_name, histogram=each.kind is Kind.HISTOGRAM)
    }


def known_names() -> set[str]:
    """Return every name that a query may use."""
    own = {
        name
        for metric in SELF_METRICS
        for name in series_of(metric.prometheus_name, histogram=metric is COLLECTION_DURATION)
    }
    return set(instruments()) | own | {rule.record for rule in rules() if rule.record} | OTHERS


def selectors(node: Any) -> Iterator[dict[str, Any]]:
    """Give every vector selector of a parsed query."""
    if isinstance(node, list):
        for each in node:
            yield from selectors(each)
    if isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            yield node
        for each in node.values():
            yield from selectors(each)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes nothing."""
    found("prometheus")
    folder = tmp_path_factory.mktemp("promql")
    (folder / "prometheus.yml").write_text("{}")
    with running_prometheus(folder / "prometheus.yml", folder / "data") as server:
        yield server


def parsed(prometheus: PrometheusServer, query: str) -> list[dict[str, Any]]:
    """Return a query's selectors; a query that Prometheus does not parse fails."""
    return list(selectors(prometheus.get("/api/v1/parse_query", query=query)["data"]))


@pytest.fixture(scope="module")
def selected(prometheus: PrometheusServer) -> Selected:
    """Every selector of every query, and where it stands."""
    return [(where, selector) for where, query in QUERIES for selector in parsed(prometheus, query)]


def test_queries_name_metrics_that_exist(selected: Selected) -> None:
    """Every metric that a rule or a runbook names is in the catalogue, recorded, or known to be another's."""
    assert len(QUERIES) > 100
    unknown = {
        (where, selector["name"])
        for where, selector in selected
        if selector["name"] and selector["name"] not in known_names()
    }
    assert unknown == set()


def test_queries_name_labels_that_exist(selected: Selected) -> None:
    """Every matcher on a metric of the catalogue has a label of it, and of a closed set only its values."""
    catalogue = instruments()
    wrong = []
    seen = 0
    for where, selector in selected:
        instrument = catalogue.get(selector["name"])
        if instrument is None:
            continue
        attributes = {attribute.key: attribute.values for attribute in instrument.attributes}
        for matcher in selector["matchers"]:
            label = matcher["name"]
            if label in TARGET_LABELS or label == "__name__":
                continue
            seen += 1
            values = attributes.get(label)
            if values is None or (values and not set(matcher["value"].split("|")) <= set(values)):
                wrong.append((where, label, matcher["value"]))
    assert wrong == []
    assert seen > 20


def test_the_slow_bound_is_a_bucket() -> None:
    """The bound of the latency objective is one of the histogram's."""
    bounds = {
        float(bound) for rule in rules() for bound in re.findall(r'_bucket\{[^}]*le=~"(\d+)\(', rule.expr)
    }
    (instrument,) = (each for each in CATALOGUE if each.name == "aoss.execution.duration")
    assert bounds == {60.0}
    assert bounds <= set(instrument.buckets)


def test_a_healthy_hour_has_every_series(selected: Selected) -> None:
    """The healthy hour of the rule tests has a series of every metric that a rule reads."""
    recorded = {rule.record for rule in rules() if rule.record}
    ours = recorded | {rule.alert for rule in rules()}
    needed = {
        selector["name"]
        for where, selector in selected
        if where in ours and selector["name"] not in recorded | {""}
    }
    (case,) = read(RULES / "tests" / "healthy.yml")["tests"]
    given = {series["series"].partition("{")[0] for series in case["input_series"]}
    assert sorted(needed - given) == []


def test_other_names_are_needed(selected: Selected) -> None:
    """The list of others' metrics holds none that no query names."""
    named = {selector["name"] for _, selector in selected}
    assert sorted(OTHERS - named) == []


def test_a_typo_is_found(prometheus: PrometheusServer) -> None:
    """A misspelt metric is none that is known, and a query that does not parse fails."""
    (selector,) = parsed(prometheus, 'rate(aoss_execution_completed_total{status="Success"}[5m])')
    assert selector["name"] not in known_names()
    with pytest.raises(AssertionError, match="parse error"):
        parsed(prometheus, "sum by (")
