"""The first implementation's nine queries, verbatim, against what the clients saw."""

import hashlib
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from telemetry.labels import AgentType
from tests.stack.evidence import Run
from tests.stack.formula import quantile, rate
from tests.stack.truth import Labels, count
from tests.support.stack.promql import Sample

pytestmark = pytest.mark.timeout(400)  # the first test waits for the run

DOCUMENT = Path(__file__).with_name("first_implementation_queries.md")
DOCUMENT_SHA256 = "2e98063316df85c0ac6548670973b73f7729671104be7fab4b6559663a874b75"

QUERIES = re.findall(r"```promql\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL)

TOLERANCE = 1e-9


def answers(run: Run, number: int, at: float | None = None) -> list[Sample]:
    """Return the answer to a query by its number in the document, by default at the run's end."""
    return run.prometheus.query(QUERIES[number - 1], run.ended if at is None else at)


def answer(run: Run, number: int, at: float | None = None) -> float:
    """Return the one value of a query's answer."""
    (sample,) = answers(run, number, at)
    return sample.value


def by_labels(samples: list[Sample]) -> dict[Labels, float]:
    """Return values by all labels but the name."""
    return {
        frozenset((key, value) for key, value in sample.labels.items() if key != "__name__"): sample.value
        for sample in samples
    }


def stored_rates(run: Run, name: str, minutes: int) -> dict[Labels, float]:
    """Return the rate of each series of a counter, worked out from the samples that Prometheus stored."""
    found = {}
    end = round(run.ended * 1000)
    for series in run.prometheus.samples(f"{name}[{minutes}m]", run.ended):
        # In whole milliseconds: a difference of seconds since the epoch is off by 0.1 µs.
        points = [((round(time * 1000) - end) / 1000, value) for time, value in series.points]
        value = rate(points, -minutes * 60, 0)
        if value is not None:
            found[frozenset((k, v) for k, v in series.labels.items() if k != "__name__")] = value
    return found


def same(expected: dict[Labels, float], actual: dict[Labels, float]) -> None:
    """Assert that two results have the same series and values; NaN equals NaN."""
    assert expected.keys() == actual.keys()
    assert expected == pytest.approx(actual, rel=TOLERANCE, abs=0, nan_ok=True)


def test_the_queries_are_verbatim() -> None:
    """The document is the first implementation's section, byte for byte, and has nine queries."""
    assert hashlib.sha256(DOCUMENT.read_bytes()).hexdigest() == DOCUMENT_SHA256
    assert len(QUERIES) == 9


def test_1_total_executions(run: Run) -> None:
    """The total is the number of executions that clients were given."""
    assert len(run.executions) == 60
    assert answer(run, 1) == 60


def test_2_executions_per_minute(run: Run) -> None:
    """Each series' executions a minute follow the documented formula over the stored samples."""
    expected = {key: 60 * value for key, value in stored_rates(run, "aoss_executions_total", 1).items()}
    assert sum(expected.values()) > 1
    same(expected, by_labels(answers(run, 2)))


def test_3_success_rate(run: Run) -> None:
    """The success rate is the ratio of the executions whose last event says Success."""
    endings = Counter(each.status for each in run.executions)
    assert 0 < endings["Success"] < 60
    assert endings["Success"] / 60 == pytest.approx(answer(run, 3), abs=TOLERANCE)


def test_4_active_executions(run: Run) -> None:
    """The executions that ran at that time were two in the middle, and none at the begin and the end."""
    assert run.held.active == 2
    assert [answer(run, 4, at) for at in (run.began, run.held.time, run.ended)] == [0, 2, 0]


def test_5_median_duration(run: Run) -> None:
    """The median of each persona and status follows the documented formula over the stored samples."""
    histograms: dict[Labels, dict[float, float]] = {}
    for labels, value in stored_rates(run, "aoss_execution_duration_seconds_bucket", 5).items():
        bound = float(dict(labels)["le"])
        histograms.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), {})[bound] = value
    expected = {labels: quantile(0.5, buckets) for labels, buckets in histograms.items()}
    assert {(dict(labels)["agent_type"], dict(labels)["status"]) for labels in expected} == {
        (str(each.agent_type), each.status) for each in run.executions
    }
    assert any(not math.isnan(value) and value > 0 for value in expected.values())
    same(expected, by_labels(answers(run, 5)))


def test_6_error_rate(run: Run) -> None:
    """The errors a second by type follow the documented formula over the stored samples."""
    expected = stored_rates(run, "aoss_execution_errors_total", 5)
    assert sum(value > 0 for value in expected.values()) >= 5
    same(expected, by_labels(answers(run, 6)))


def test_7_self_healing_success_rate(run: Run) -> None:
    """The healing rate is the ratio of the attempts whose result says that the goal was reached."""
    healings = count(run.executions)["aoss_self_healing_attempts_total"]
    good = sum(number for labels, number in healings.items() if ("success", "true") in labels)
    assert 0 < good < healings.total()
    assert good / healings.total() == pytest.approx(answer(run, 7), abs=TOLERANCE)


def test_8_executions_by_agent_type(run: Run) -> None:
    """Each persona's total is the number of executions that were given to it."""
    expected = Counter(str(each.agent_type) for each in run.executions)
    assert len(set(expected.values())) == len(AgentType), "no two personas alike, so that a mix-up shows"
    assert expected == {sample.labels["agent_type"]: sample.value for sample in answers(run, 8)}


def test_9_failed_steps(run: Run) -> None:
    """The failed steps are those whose result says so."""
    steps = count(run.executions)["aoss_execution_steps_total"]
    failed = sum(number for labels, number in steps.items() if ("status", "Failed") in labels)
    assert failed > 20
    assert answer(run, 9) == failed
