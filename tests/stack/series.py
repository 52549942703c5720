"""The same series as each path shows them, brought to one form: one reader for each path.

Taken away is what this table names, and nothing else, so that whatever else differs is found:

| path | identity of the process | `le` | scope | resource |
|---|---|---|---|---|
| /metrics | none | `1` | none | `target_info` |
| Prometheus' scrape | `job`, `instance` of the scrape | `1.0` | none | `target_info` |
| remote write | `job`, `instance` of the resource | `1` | `otel_scope_*` | `target_info` |
| OTLP into VictoriaMetrics | none | `1` | `scope_*` | a label for each attribute |
| a file of OTLP JSON | none | a number | beside the metrics | beside the metrics |
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.stack.truth import Labels
from tests.support.stack.promql import QueryServer, Sample
from tests.support.stack.victoria import VictoriaServer

Series = dict[tuple[str, Labels], float]

# Recorded by Prometheus itself for the first implementation's queries, under names that look measured.
_RECORDED = "aoss_executions_completed|aoss_self_healing_attempts"

# What the backend measures; target_info and Prometheus' own series of a scrape are about the path.
MEASURED = "(aoss|http_server|gen_ai|otel_sdk|process)_.+"

_UNITS = {"s": "seconds", "By": "bytes"}


def exposition(text: str) -> Series:
    """Return what /metrics shows: its form is the common one, but for how `le` is written."""
    return _series(
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def identity(text: str) -> dict[str, str]:
    """Return the attributes of the resource, which /metrics shows as the labels of target_info."""
    return next(
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "target_info"
    )


def scraped(server: QueryServer, job: str) -> Series:
    """Return what a Prometheus holds that scraped the backend: `job` and `instance` are the scrape's."""
    selector = f'{{__name__=~"{MEASURED}", __name__!~"{_RECORDED}", job="{job}"}}'
    return _stored(server.query(selector), _is_of_the_scrape)


def remote_written(server: QueryServer, identity: Mapping[str, str]) -> Series:
    """Return what a Prometheus holds by remote write: `job` and `instance` are the resource's."""
    job, instance = identity["service_name"], identity["service_instance_id"]
    selector = f'{{__name__=~"{MEASURED}", job="{job}", instance="{instance}"}}'
    return _stored(server.query(selector), lambda name: _is_of_the_scrape(name) or _is_of_a_scope(name))


def victoria(server: VictoriaServer, identity: Mapping[str, str]) -> Series:
    """Return what a VictoriaMetrics holds by OTLP: every attribute of the resource is a label."""
    instance = identity["service_instance_id"]
    server.flush()  # by itself, every five seconds
    return _stored(
        server.query(f'{{__name__=~"{MEASURED}", service_instance_id="{instance}"}}'),
        lambda name: name in identity or name in ("scope_name", "scope_version"),
    )


def otlp_file(path: Path, identity: Mapping[str, str]) -> Series:
    """Return the last whole push in a file of OTLP JSON, if it is of this resource."""
    text = path.read_text()
    line = text[: text.rindex("\n")].splitlines()[-1]  # what follows is being written
    (resource,) = json.loads(line)["resourceMetrics"]
    attributes = _attributes(resource["resource"]["attributes"])
    if identity != {_label(key): value for key, value in attributes.items()}:
        return {}
    return _series(
        sample
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
        for sample in _points(metric)
    )


def _points(metric: dict[str, Any]) -> Iterable[tuple[str, Mapping[str, str], float]]:
    """Yield a metric's samples under the names that the Prometheus compatibility specification gives."""
    (kind,) = metric.keys() & {"sum", "gauge", "histogram"}
    unit = re.sub(r"\{.*\}", "", metric.get("unit", ""))
    name = "_".join(filter(None, [metric["name"].replace(".", "_"), _UNITS.get(unit, unit)]))
    if metric[kind].get("isMonotonic"):
        name += "_total"
    for point in metric[kind]["dataPoints"]:
        labels = {_label(key): value for key, value in _attributes(point.get("attributes", [])).items()}
        if kind != "histogram":
            yield name, labels, float(point["asInt"] if "asInt" in point else point["asDouble"])
            continue
        yield f"{name}_count", labels, float(point["count"])
        yield f"{name}_sum", labels, float(point["sum"])
        below = 0.0
        bounds = [*point["explicitBounds"], "+Inf"]
        for bound, count in zip(bounds, point["bucketCounts"], strict=True):
            below += float(count)
            yield f"{name}_bucket", labels | {"le": str(bound)}, below


def _attributes(pairs: list[dict[str, Any]]) -> dict[str, str]:
    return {pair["key"]: str(next(iter(pair["value"].values()))) for pair in pairs}


def _label(attribute: str) -> str:
    return re.sub(r"\W", "_", attribute)


def _stored(samples: Iterable[Sample], is_of_the_path: Callable[[str], bool]) -> Series:
    return _series(
        (
            sample.labels["__name__"],
            {key: value for key, value in sample.labels.items() if not is_of_the_path(key)},
            sample.value,
        )
        for sample in samples
    )


def _is_of_the_scrape(label: str) -> bool:
    return label in ("job", "instance")


def _is_of_a_scope(label: str) -> bool:
    return label.startswith("otel_scope_")


def _series(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> Series:
    found: Series = {}
    for name, labels, value in samples:
        if not re.fullmatch(MEASURED, name):
            continue
        key = (
            name,
            frozenset((k, _number(v) if k == "le" else v) for k, v in labels.items() if k != "__name__"),
        )
        assert key not in found, f"{key} is there twice: something that tells the two apart was taken away"
        found[key] = value
    return found


def _number(bound: str) -> str:
    return repr(float(bound))
