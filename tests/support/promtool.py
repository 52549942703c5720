"""Prometheus' promtool: what Prometheus itself says of an exposition."""

import re
import subprocess

from tests.support.stack.programs import program

# Complaints about names that standards give and this project cannot choose. Everything else fails.
TOLERATED = (
    # The process conventions' counts: `_count` is a histogram's suffix to promtool.
    "process_(open_file_descriptor|thread)_count non-histogram.* should not have .* suffix",
)


def check_metrics(exposition: bytes) -> list[str]:
    """Return promtool's complaints about a text exposition, without the tolerated ones.

    Raises ProgramUnavailableError where the program cannot be had.
    """
    result = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=exposition,
        capture_output=True,
        check=False,
        timeout=60,
    )
    complaints = (result.stdout + result.stderr).decode().splitlines()
    # 3 means complaints; anything else is a failure to parse.
    if result.returncode not in (0, 3):
        return complaints or [f"promtool ended with {result.returncode}"]
    return [line for line in complaints if not any(re.fullmatch(known, line) for known in TOLERATED)]
