"""What every query of every dashboard keeps to, held against the catalogue and the recording rules."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from grafana import names
from telemetry.catalogue import CATALOGUE, Kind
from telemetry.watching import SELF_METRICS
from tests.grafana.queries import dashboards, panels

RULES = Path(__file__).parents[2] / "prometheus" / "rules"

TARGETS = [
    (uid, panel["type"], target)
    for uid, dashboard in dashboards().items()
    for panel in panels(dashboard)
    for target in panel["targets"]
]
SHOWN = sorted({target["expr"] for _, _, target in TARGETS})
EXPRESSIONS = SHOWN + sorted(
    {each["target"]["expr"] for board in dashboards().values() for each in board["annotations"]["list"]}
)

HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")
SCRAPED = {"job", "instance"}
OBJECTIVES = {names.SUCCESS_OBJECTIVE, names.LATENCY_OBJECTIVE}
LISTED = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
BEGINNINGS = {names.BAD_RATIO, names.SLOW_RATIO, names.BUDGET_WINDOW}

KEYWORDS = {"by", "group", "offset", "on", "or", "sum", "unless"}
# What a parenthesis follows is a function.
SELECTOR = re.compile(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)\b(?!\()(\{[^}]*\})?(?:\[([^]]+)\])?")


class Selector(NamedTuple):
    """A metric's name, its matchers in braces, and its range."""

    name: str
    matchers: str
    duration: str


def selectors(expression: str) -> list[Selector]:
    """Return every selector in an expression."""
    # Lists of labels hold words that look like metrics.
    bare = re.sub(r"\b(by|on) \([^)]*\)", r"\1", expression)
    found = (Selector(*(part or "" for part in match.groups())) for match in SELECTOR.finditer(bare))
    return [each for each in found if each.name not in KEYWORDS]


@cache
def catalogued() -> dict[str, set[str]]:
    """Return the labels of every series name that the catalogue makes."""
    found: dict[str, set[str]] = {}
    for instrument in CATALOGUE:
        labels = {attribute.key for attribute in instrument.attributes}
        histogram = instrument.kind is Kind.HISTOGRAM
        for part in HISTOGRAM_PARTS if histogram else ("",):
            found[instrument.prometheus_name + part] = labels | {"le"} if histogram else labels
    return found


@cache
def recorded() -> set[str]:
    """Return the names that the recording rules provide."""
    groups = [group for path in RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def known() -> set[str]:
    """Return the names of all series that there are."""
    others = {metric.prometheus_name for metric in SELF_METRICS} | LISTED - BEGINNINGS
    parts = {name + part for name in others if name.endswith("_seconds") for part in HISTOGRAM_PARTS}
    return {*catalogued(), *recorded(), *others, *parts}


def is_counter(name: str) -> bool:
    """Tell whether a series is a counter."""
    return bool(re.search("_total$|_seconds_(bucket|sum|count)$", name)) or name in names.COLLECTOR_COUNTERS


def test_selectors_are_found() -> None:
    """The checks below see names, matchers and ranges."""
    expression = (
        'topk(3, sum by (a, b) (rate(x_total{job=~"$job"}[$__range]))) / on () (up offset $__interval > 0.5)'
    )
    assert selectors(expression) == [("x_total", '{job=~"$job"}', "$__range"), ("up", "", "")]
    assert len(EXPRESSIONS) > 60


def test_metrics_exist() -> None:
    """Every metric is in the catalogue, recorded by a rule, or listed as another program's."""
    for expression in EXPRESSIONS:
        used = {each.name for each in selectors(expression)}
        assert used, expression
        assert used <= known(), expression


def test_the_variables_filter() -> None:
    """Scraped series obey job and instance, recorded ones job; the objectives have no labels."""
    for expression in EXPRESSIONS:
        for name, matchers, _ in selectors(expression):
            if name in OBJECTIVES:
                assert matchers == "", expression
            elif name in recorded():
                assert matchers == '{job=~"$job"}', expression
            else:
                assert re.search(r'\bjob=~"\$job\|?"', matchers), expression
                assert re.search(r'\binstance=~"\$instance\|?"', matchers), expression


def test_labels_exist() -> None:
    """Only labels that the catalogue has are matched and kept, and its filters are used where it has them."""
    for expression in EXPRESSIONS:
        kept = {each for group in re.findall(r"\bby \(([^)]*)\)", expression) for each in group.split(", ")}
        for name, matchers, _ in selectors(expression):
            if name in catalogued():
                labels = catalogued()[name] | SCRAPED
                assert kept | set(re.findall(r'(\w+)[=!]~?"', matchers)) <= labels, expression
                filters = labels & {"agent_type", "server_tag"}
                assert filters <= set(re.findall(r'(\w+)=~"\$\1"', matchers)), expression


def test_label_values_exist() -> None:
    """A value of a closed set that a query matches is in the set."""
    closed = {
        (instrument.prometheus_name, attribute.key): set(attribute.values)
        for instrument in CATALOGUE
        for attribute in instrument.attributes
        if attribute.values
    }
    checked = 0
    for expression in EXPRESSIONS:
        for name, matchers, _ in selectors(expression):
            for key, value in re.findall(r'(\w+)=~?"([^"$]+)"', matchers):
                if (name, key) in closed:
                    checked += 1
                    assert set(value.split("|")) <= closed[name, key], expression
    assert checked > 10


def test_counters_are_differences() -> None:
    """A counter stands under rate or increase, over the graph's interval or the range in view."""
    for expression in EXPRESSIONS:
        # What increase_from_nothing takes as it is: counters that were not there before.
        rest = re.sub(r"\(([^ ]+) unless max_over_time\(\1\[1h\] offset \$__range\)\)", "()", expression)
        for name, matchers, duration in selectors(rest):
            if is_counter(name):
                assert duration in ("$__rate_interval", "$__range"), expression
                assert re.search(rf"\b(rate|increase)\({re.escape(name + matchers)}\[", rest), expression


def test_quantiles_are_of_sums() -> None:
    """Buckets are added up by their bounds before a quantile is taken."""
    asked = [expression for expression in EXPRESSIONS if "histogram_quantile" in expression]
    assert len(asked) > 5
    pattern = r"histogram_quantile\(0\.\d+, sum by \((\w+, )*le\) \(rate\("
    assert [expression for expression in asked if not re.match(pattern, expression)] == []


def test_every_instrument_is_shown() -> None:
    """Each instrument of the catalogue and each of the pipeline's own is in a panel."""
    used = {each.name.removesuffix("_bucket") for expression in SHOWN for each in selectors(expression)}
    assert {each.prometheus_name for each in (*CATALOGUE, *SELF_METRICS)} <= used


def test_the_list_of_names_holds_no_others() -> None:
    """Each name listed as another program's is in a query."""
    used = {each.name.removesuffix("_bucket") for expression in EXPRESSIONS for each in selectors(expression)}
    assert used >= LISTED - BEGINNINGS


def test_exemplars_are_asked_for() -> None:
    """The graph and the heat map of durations ask for exemplars, which link to executions."""
    asking = {(uid, kind) for uid, kind, target in TARGETS if target["exemplar"]}
    assert asking == {("aoss-overview", "timeseries"), ("aoss-overview", "heatmap")}
