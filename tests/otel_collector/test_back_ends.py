"""Data through every fragment into the real thing it is for."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricExportResult

from telemetry.catalogue import CATALOGUE, Kind
from tests.otel_collector.deployment import BASE, FRAGMENTS, Collector, Pusher, pushing, stored
from tests.support.backend import wait_for
from tests.support.stack.prometheus import PrometheusServer
from tests.support.stack.promql import QueryServer
from tests.support.stack.victoria import VictoriaServer

OK = MetricExportResult.SUCCESS


def record_catalogue(pusher: Pusher) -> None:
    """Record 1 with every instrument of the catalogue, with a value for each of its attributes."""
    for instrument in CATALOGUE:
        attributes = {each.key: "one" for each in instrument.attributes}
        create: dict[Kind, Callable[..., Any]] = {
            Kind.COUNTER: pusher.meter.create_counter,
            Kind.UP_DOWN_COUNTER: pusher.meter.create_up_down_counter,
            Kind.HISTOGRAM: pusher.meter.create_histogram,
        }
        made = create[instrument.kind](instrument.name, unit=instrument.unit)
        (made.record if instrument.kind is Kind.HISTOGRAM else made.add)(1, attributes)


def expected_series() -> dict[str, set[str]]:
    """Return the names that the scrape has, with the label keys that come from attributes."""
    expected = {}
    for instrument in CATALOGUE:
        keys = {each.key for each in instrument.attributes}
        if instrument.kind is Kind.HISTOGRAM:
            expected[f"{instrument.prometheus_name}_bucket"] = keys | {"le"}
            expected[f"{instrument.prometheus_name}_sum"] = keys
            expected[f"{instrument.prometheus_name}_count"] = keys
        else:
            expected[instrument.prometheus_name] = keys
    return expected


# What each path adds to every series beside the labels that come from attributes.
VICTORIA_ADDS = {"__name__", "service_name", "scope_name", "scope_version"}
PROMETHEUS_ADDS = {"__name__", "job", "otel_scope_name"}


def series_of(store: QueryServer, selector: str, added: set[str]) -> dict[str, set[str]]:
    """Return the names of a store's series with their label keys, without those that the path adds."""
    found: dict[str, set[str]] = {}
    for series in store.series(f'{{__name__=~"aoss_.+",{selector}}}'):
        found.setdefault(series["__name__"], set()).update(series.keys() - added)
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the requests that a Collector has written to a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def pushed(requests: list[dict[str, Any]]) -> list[int]:
    """Return the values of `pushed` in the order in which they were written."""
    return [
        int(point["asInt"])
        for request in requests
        for resource in request["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
        if metric["name"] == "pushed"
        for point in metric["sum"]["dataPoints"]
    ]


def test_victoriametrics_gets_the_names_of_the_scrape(tmp_path: Path, victoria: VictoriaServer) -> None:
    """Every instrument of the catalogue arrives in VictoriaMetrics under its Prometheus name."""
    environment = {"VICTORIAMETRICS_URL": victoria.url}
    with (
        Collector(tmp_path, BASE, FRAGMENTS["victoriametrics"], environment=environment) as collector,
        pushing(collector, "names") as pusher,
    ):
        record_catalogue(pusher)
        assert pusher.push() == [OK]
        wait_for(lambda: stored(victoria, 'service_name="names"') == [1.0], 20)
    assert expected_series() == series_of(victoria, 'service_name="names"', VICTORIA_ADDS)


@pytest.mark.parametrize("fragment", ["otlp-http", "prometheus-remote-write"])
def test_prometheus_gets_the_names_of_the_scrape(
    fragment: str, tmp_path: Path, prometheus: PrometheusServer
) -> None:
    """Every instrument of the catalogue arrives in Prometheus under its Prometheus name, by either path."""
    environment = {
        "OTLP_HTTP_ENDPOINT": f"{prometheus.url}/api/v1/otlp",
        "REMOTE_WRITE_ENDPOINT": f"{prometheus.url}/api/v1/write",
    }
    with (
        Collector(tmp_path, BASE, FRAGMENTS[fragment], environment=environment) as collector,
        pushing(collector, fragment, grpc=False) as pusher,
    ):
        record_catalogue(pusher)
        assert pusher.push() == [OK]
        wait_for(lambda: stored(prometheus, f'job="{fragment}"')[-1:] == [1.0], 20)
    assert expected_series() == series_of(prometheus, f'job="{fragment}"', PROMETHEUS_ADDS)


def test_all_back_ends_at_once(
    tmp_path: Path, victoria: VictoriaServer, prometheus: PrometheusServer
) -> None:
    """With every fragment listed, each back end gets every push, and the log says nothing but information."""
    second = Collector(
        tmp_path / "second",
        BASE,
        FRAGMENTS["file"],
        environment={"COLLECTOR_FILE": f"{tmp_path}/second.json"},
    )
    environment = {
        "COLLECTOR_FILE": f"{tmp_path}/first.json",
        "OTLP_GRPC_ENDPOINT": second.grpc,
        "OTLP_GRPC_INSECURE": "true",
        "OTLP_HTTP_ENDPOINT": f"{victoria.url}/opentelemetry",
        "REMOTE_WRITE_ENDPOINT": f"{prometheus.url}/api/v1/write",
        "VICTORIAMETRICS_URL": victoria.url,
    }
    with (
        second,
        Collector(tmp_path / "first", BASE, *FRAGMENTS.values(), environment=environment) as first,
        pushing(first, "all") as pusher,
    ):
        for _ in range(3):
            assert pusher.push() == [OK]
            time.sleep(0.1)
        wait_for(lambda: stored(prometheus, 'job="all"') == [1.0, 2.0, 3.0], 20)
        wait_for(lambda: set(stored(victoria, 'service_name="all"')) == {1.0, 2.0, 3.0}, 20)
        wait_for(lambda: pushed(lines(tmp_path / "first.json")) == [1, 2, 3])
        wait_for(lambda: pushed(lines(tmp_path / "second.json")) == [1, 2, 3])
        levels = {json.loads(line)["level"] for line in (first.log + second.log).splitlines()}
        assert {"info"} == levels, first.log
        assert "deprecat" not in (first.log + second.log).lower()
        # The debug exporter's own words.
        assert '"metrics":1,"data points":1' in first.log.replace(" ", "").replace(
            "datapoints", "data points"
        )


def test_a_big_push_is_taken(tmp_path: Path) -> None:
    """A push of five megabytes, as of some 60,000 series, is taken by both protocols."""
    with Collector(tmp_path, BASE, FRAGMENTS["debug"]) as collector:
        for grpc in (True, False):
            with pushing(collector, "big", grpc=grpc) as pusher:
                pusher.meter.create_counter("big", description="x" * 5_000_000).add(1)
                assert pusher.push() == [OK]


def test_the_environment_is_added_where_the_sender_has_none(tmp_path: Path) -> None:
    """deployment.environment.name is added from the variable, and never overwrites what the sender says."""
    file = tmp_path / "out.json"
    environment = {"COLLECTOR_FILE": str(file), "DEPLOYMENT_ENVIRONMENT": "staging"}
    with Collector(tmp_path / "first", BASE, FRAGMENTS["file"], environment=environment) as collector:
        for attributes in ({}, {"deployment.environment.name": "production"}):
            with pushing(collector, "environment", resource=attributes) as pusher:
                assert pusher.push() == [OK]
        wait_for(lambda: len(lines(file)) == 2)
    assert [environment_of(request) for request in lines(file)] == ["staging", "production"]


def test_without_the_variable_no_environment_is_added(tmp_path: Path) -> None:
    """Without DEPLOYMENT_ENVIRONMENT the resource stays as it was sent, with no empty attribute."""
    file = tmp_path / "out.json"
    environment = {"COLLECTOR_FILE": str(file)}
    with (
        Collector(tmp_path / "first", BASE, FRAGMENTS["file"], environment=environment) as collector,
        pushing(collector, "environment") as pusher,
    ):
        assert pusher.push() == [OK]
        wait_for(lambda: len(lines(file)) == 1)
    (resource,) = (each["resource"] for each in lines(file)[0]["resourceMetrics"])
    assert [attribute["key"] for attribute in resource["attributes"]] == ["service.name"]


def environment_of(request: dict[str, Any]) -> str:
    """Return a request's deployment.environment.name."""
    attributes = request["resourceMetrics"][0]["resource"]["attributes"]
    (found,) = (each for each in attributes if each["key"] == "deployment.environment.name")
    value: str = found["value"]["stringValue"]
    return value
