"""A service under load whose workers come and go, seen by its clients and by a scraper."""

import json
import sys
from pathlib import Path

from tests.conftest import UNDER_CI
from tests.telemetry.sdk.support_processes import started

SECONDS = 60 if UNDER_CI else 15


def test_no_counter_decreases_and_all_is_counted(tmp_path: Path) -> None:
    """Under kills, recycling and new workers no counter ever decreases, and the end is what clients counted.

    This takes a minute under CI and 15 seconds elsewhere.
    """
    directory = tmp_path / "metrics"
    command = [sys.executable, "-m", "tests.faults.support_service", str(directory), str(SECONDS), "a seed"]
    with started(command) as process:
        text, _ = process.communicate(timeout=SECONDS + 40)
    assert process.returncode == 0
    found = json.loads(text)
    cut_off = 0
    for client, counted in found["clients"].items():
        answered, unknown = counted["answered"], counted.get("cut off", 0)
        # A request that was cut off may have been counted or not.
        assert answered <= found["requests"][client] <= answered + unknown
        cut_off += unknown
    # Each kill and each recycling cuts off at most one request of each client.
    assert cut_off <= len(found["clients"]) * sum(found["changes"].values())
    answered = sum(counted["answered"] for counted in found["clients"].values())
    assert answered <= found["count"] <= answered + cut_off
    # The up-down counter of the dead goes with them.
    assert found["active"] in ([], [0])
    assert found["changes"].keys() == {"killed", "recycled", "added"}
    assert found["scrapes"] > SECONDS
