"""Every path out of the backend ends with the same series: names, attributes' labels and values."""

import re

import pytest

from tests.stack.evidence import Run

pytestmark = pytest.mark.timeout(400)  # the first test waits for the run

PHASES = ("sixty executions", "a restart, with a model")
PATHS = ("scrape", "file", "second Collector", "remote write", "VictoriaMetrics")

# A process' memory, threads and files are other ones at each look; everything else stands or only grows.
MOVING = re.compile(r"process_(memory_.*|thread_count|open_file_descriptor_count)")

# VictoriaMetrics keeps decimal numbers: of a sum of seconds some ten digits, of whole numbers all.
DECIMAL_PLACES = 1e-9


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("phase", PHASES)
def test_the_same_series(run: Run, phase: str, path: str) -> None:
    """The series at the path's end are those of /metrics: no more, no fewer, and with the same labels."""
    fan_out = run.fan_outs[phase]
    assert fan_out.before.keys() == fan_out.paths[path].keys()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("phase", PHASES)
def test_the_same_values(run: Run, phase: str, path: str) -> None:
    """Each value at the path's end lies between those on /metrics before and after, mostly equal."""
    fan_out = run.fan_outs[phase]
    before, found, after = fan_out.before, fan_out.paths[path], fan_out.after
    margin = DECIMAL_PLACES if path == "VictoriaMetrics" else 0.0
    outside = {
        key: (low, found[key], after[key])
        for key, low in before.items()
        if not MOVING.fullmatch(key[0]) and not low * (1 - margin) <= found[key] <= after[key] * (1 + margin)
    }
    assert outside == {}


def test_what_is_compared(run: Run) -> None:
    """What executions move stands still once they are over, and so is compared exactly."""
    for phase, most in zip(PHASES, (400, 200), strict=True):
        before, after = run.fan_outs[phase].before, run.fan_outs[phase].after
        moved = {name for (name, labels), value in before.items() if value != after[name, labels]}
        assert not {name for name in moved if name.startswith(("aoss_execution", "aoss_self", "aoss_compl"))}
        assert sum(name.startswith("aoss_") for name, _ in before) > most
    kinds = {name.split("_")[0] for name, _ in run.fan_outs[PHASES[1]].before}
    assert kinds == {"aoss", "http", "gen", "otel", "process"}
