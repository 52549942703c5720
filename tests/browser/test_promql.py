"""The charts' queries: those of the Grafana panels, and computed in the page as Prometheus computes them."""

import itertools
import json
import random
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.support.pipeline import QUERIES
from tests.grafana.queries import dashboards
from tests.support.stack.programs import program
from tests.support.stack.prometheus import PrometheusServer, running_prometheus
from tests.support.stack.promql import Sample

COMPUTED = """async ({ samples, times }) => {
  const { CHARTS } = await import("/console/charts.js");
  const { Samples } = await import("/console/samples.js");
  const kept = new Samples();
  kept.add({ run: "test", samples });
  const queries = CHARTS.flatMap(({ queries }) => queries);
  return times.map((time) => queries.map((query) => query.at(kept, time)));
}"""

INTERVAL = 5
COUNT = 100
BOUNDS = ("0.05", "0.5", "5", "60", "+Inf")
VARIABLES = re.compile(r'\w+=~"\$\w+",?')

Values = dict[str, float]


def without_variables(query: str) -> str:
    """Return a panel's query as the console shows it."""
    return VARIABLES.sub("", query).replace(",}", "}").replace("{}", "").replace("$__rate_interval", "1m")


async def test_queries_are_those_of_the_panels(page: Page) -> None:
    """Each query is that of a Grafana panel, but for the dashboard's variables."""
    text = json.dumps([dashboard["panels"] for dashboard in dashboards().values()])
    panels = {
        without_variables(json.loads(found)) for found in re.findall(r'"expr": ("(?:[^"\\]|\\.)*")', text)
    }
    queries = await page.evaluate(QUERIES)
    assert len(queries) > 8
    assert [query for query in queries if query not in panels] == []


def scenario() -> list[tuple[float, Values]]:
    """Return samples at uneven times: bursts, rests, a series that begins late, a reset, a missed sample."""
    chance = random.Random(6)  # noqa: S311 - a scenario, not a secret
    begin = time.time() - 3600
    values: Values = {}
    for agent, status in itertools.product(("general", "network"), ("Success", "Failed", "Cancelled")):
        labels = f'agent_type="{agent}",status="{status}"'
        values[f"aoss_executions_completed_total{{{labels}}}"] = 0
        for bound in BOUNDS:
            values[f'aoss_execution_duration_seconds_bucket{{{labels},le="{bound}"}}'] = 0
    for agent in ("general", "network"):
        values[f'aoss_executions_total{{agent_type="{agent}"}}'] = 7 if agent == "network" else 0
        values[f'aoss_active_executions{{agent_type="{agent}"}}'] = 0
        values[f'aoss_execution_errors_total{{error_type="command_error",agent_type="{agent}"}}'] = 0
        for success in ("true", "false"):
            values[f'aoss_self_healing_attempts_total{{agent_type="{agent}",success="{success}"}}'] = 0
    samples = []
    for number in range(COUNT):
        if number == 60:  # a new start of a service that keeps no numbers
            values = dict.fromkeys(values, 0)
        for series in values:
            busy = 30 <= number < 80 and ("network" not in series or number > 45)
            busy &= "Success" not in series or number > 35
            if "active" in series:
                values[series] = chance.randrange(4)
            elif "_bucket" not in series and busy and chance.random() < 0.4:
                values[series] += chance.randrange(1, 4)
        observe(values, chance)
        if number != 70:
            samples.append((round(begin + INTERVAL * number + chance.random() * 0.2, 3), dict(values)))
    return samples


def observe(values: Values, chance: random.Random) -> None:
    """Bring the buckets, which are cumulative, up to the number of completed executions."""
    for series in [each for each in values if each.startswith("aoss_executions_completed_total")]:
        labels = series.partition("{")[2].removesuffix("}")
        buckets = [f'aoss_execution_duration_seconds_bucket{{{labels},le="{bound}"}}' for bound in BOUNDS]
        while values[buckets[-1]] < values[series]:
            for bucket in buckets[chance.randrange(len(buckets)) :]:
                values[bucket] += 1


@pytest.fixture(scope="module")
def samples() -> list[tuple[float, Values]]:
    """Return the samples that both compute from."""
    return scenario()


@pytest.fixture(scope="module")
def prometheus(
    samples: Sequence[tuple[float, Values]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """Run a Prometheus that holds the samples, with their zeros."""
    folder = tmp_path_factory.mktemp("prometheus")
    lines = [
        f"{series} {value} {moment:.3f}"
        for series in samples[0][1]
        for moment, value in ((moment, values[series]) for moment, values in samples)
    ]
    (folder / "samples.txt").write_text("\n".join([*lines, "# EOF\n"]))
    (folder / "prometheus.yml").write_text("{}")
    made = subprocess.run(
        [
            program("promtool"),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            folder / "samples.txt",
            folder / "data",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    with running_prometheus(folder / "prometheus.yml", folder / "data") as server:
        yield server


async def test_values_are_those_of_prometheus(
    page: Page, samples: Sequence[tuple[float, Values]], prometheus: PrometheusServer
) -> None:
    """At every sample, each query has in the page the value that it has in Prometheus."""
    queries: list[str] = await page.evaluate(QUERIES)
    times = [moment for moment, _ in samples][13:]
    sent = [
        {
            "seq": number,
            "time": moment,
            "values": {series: value for series, value in values.items() if value},
        }
        for number, (moment, values) in enumerate(samples, start=1)
    ]
    computed = await page.evaluate(COMPUTED, {"samples": sent, "times": times})
    compared = 0
    for moment, by_query in zip(times, computed, strict=True):
        for query, vector in zip(queries, by_query, strict=True):
            expected = as_mapping(prometheus.query(query, at=moment))
            got = {tuple(sorted(each["labels"].items())): each["value"] for each in vector}
            # A series of zeros may be left out: the page has not heard of it.
            assert {key for key in expected if key not in got and expected[key] != 0} == set()
            assert got == pytest.approx({key: expected[key] for key in got}, rel=1e-7, abs=1e-9), query
            compared += len(got)
    assert compared > 800


def as_mapping(vector: Sequence[Sample]) -> dict[Any, float]:
    """Return the values of a vector by labels, without the metric's name."""
    return {
        tuple(sorted((key, value) for key, value in sample.labels.items() if key != "__name__")): sample.value
        for sample in vector
    }
