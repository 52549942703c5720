"""What the panels' expressions say of series that are known, by promtool's own engine."""

import json
import subprocess
from pathlib import Path

import pytest

from grafana import names
from grafana.promql import increase, increase_from_nothing, quantile, ratio, select, total
from telemetry.catalogue import EXECUTION_DURATION, EXECUTIONS, EXECUTIONS_COMPLETED
from tests.grafana.queries import all_values, dashboards, filled_in
from tests.support.stack.programs import ProgramUnavailableError, program

VALUES = all_values(dashboards()["aoss-overview"]) | {
    "__rate_interval": "4m",
    "__range": "10m",
    "__interval": "1m",
}
TARGET = 'job="aoss-backend",instance="a"'


def evaluated(
    folder: Path, expression: str, series: dict[str, str], at: str, expected: list[tuple[str, float]]
) -> str:
    """Let promtool compare an expression's value, samples a minute apart; return its complaint, or none."""
    try:
        promtool = program("promtool")
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
    samples = [{"labels": labels, "value": value} for labels, value in expected]
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {"expr": filled_in(expression, VALUES), "eval_time": at, "exp_samples": samples}
        ],
    }
    path = folder / "test.yml"
    path.write_text(json.dumps({"tests": [test]}))
    result = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, check=False, timeout=60
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


def completed(status: str) -> str:
    """Return a series of executions that ended like this."""
    return f'{EXECUTIONS_COMPLETED.prometheus_name}{{{TARGET},agent_type="general",status="{status}"}}'


SUCCESS = ratio(
    total(increase(select(EXECUTIONS_COMPLETED, 'status="Success"'))),
    total(increase(select(EXECUTIONS_COMPLETED))),
)


def test_a_ratio_of_events(tmp_path: Path) -> None:
    """A ratio is the part's share of the whole."""
    series = {completed("Success"): "0+3x10", completed("Failed"): "0+1x10"}
    assert evaluated(tmp_path, SUCCESS, series, "10m", [("{}", 0.75)]) == ""


def test_an_idle_ratio_has_no_value(tmp_path: Path) -> None:
    """Without events a ratio has no value, so that the panel says so, instead of NaN."""
    series = {completed("Success"): "3x10", completed("Failed"): "1x10"}
    assert evaluated(tmp_path, SUCCESS, series, "10m", []) == ""


def test_an_idle_quantile_has_no_value(tmp_path: Path) -> None:
    """Without observations a quantile has no value."""
    name = EXECUTION_DURATION.prometheus_name
    series = {f'{name}_bucket{{{TARGET},le="{bound}"}}': "4x10" for bound in ("1.0", "+Inf")}
    assert evaluated(tmp_path, quantile(0.5, EXECUTION_DURATION), series, "10m", []) == ""


def test_a_quantile_is_of_all_parts_together(tmp_path: Path) -> None:
    """A quantile over agent types is that of all their executions, not one for each."""
    name = EXECUTION_DURATION.prometheus_name
    counts = {"general": ("0+9x10", "0+9x10"), "network": ("0x10", "0+1x10")}
    series = {
        f'{name}_bucket{{{TARGET},agent_type="{agent}",le="{bound}"}}': values
        for agent, pair in counts.items()
        for bound, values in zip(("1.0", "2.0"), pair, strict=True)
    } | {
        f'{name}_bucket{{{TARGET},agent_type="{agent}",le="+Inf"}}': pair[1] for agent, pair in counts.items()
    }
    p95 = quantile(0.95, EXECUTION_DURATION)
    assert evaluated(tmp_path, p95, series, "10m", [("{}", 1.5)]) == ""


def test_what_overflowed_is_counted(tmp_path: Path) -> None:
    """All agent types and servers include the series of what exceeds a limit, which has neither label."""
    name = EXECUTIONS.prometheus_name
    series = {
        f'{name}{{{TARGET},agent_type="general",server_tag="a"}}': "0+1x10",
        f'{name}{{{TARGET},otel_metric_overflow="true"}}': "0+2x10",
    }
    assert evaluated(tmp_path, total(increase(select(EXECUTIONS))), series, "10m", [("{}", 30)]) == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("_x14 5x5", [("{}", 5)]),
        ("5x20", [("{}", 0)]),
        ("0+1x20", [("{}", 10)]),
        ("_x20", []),
        ("5x4 stale _x6 5x8", [("{}", 0)]),
    ],
    ids=["appeared", "unchanged", "rising", "absent", "unchanged over a gap"],
)
def test_a_counter_that_begins_with_its_first_event(
    tmp_path: Path, values: str, expected: list[tuple[str, float]]
) -> None:
    """The first failures count, though there was no 0 before them; those before the range do not."""
    series = {f'{names.SEND_FAILED}{{job="otel-collector",instance="c",exporter="x"}}': values}
    expression = total(increase_from_nothing(select(names.SEND_FAILED)))
    assert evaluated(tmp_path, expression, series, "20m", expected) == ""


@pytest.mark.parametrize(
    ("at", "marked"),
    [("9m", False), ("10m", True), ("11m", False), ("16m", False)],
    ids=["before", "at the restart", "after", "after a failed scrape"],
)
def test_a_restart_is_marked_once(tmp_path: Path, at: str, marked: bool) -> None:  # noqa: FBT001
    """A new run is marked at the step in which it appears; a scrape that fails meanwhile is no restart."""
    restart, _ = dashboards()["aoss-overview"]["annotations"]["list"]
    info = f'{names.TARGET_INFO}{{{TARGET},service_instance_id="%s"}}'
    series = {info % "one": "1x9 stale", info % "two": "_x10 1x3 stale _ 1x9"}
    found = [(f'{{{TARGET},service_instance_id="two"}}', 1.0)] if marked else []
    expression = restart["target"]["expr"]
    assert evaluated(tmp_path, expression, series, at, found) == ""
