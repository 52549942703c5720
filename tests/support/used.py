"""The real programs that a test run used, to be listed at its end."""

import subprocess
from collections.abc import Mapping, Sequence

programs: set[str] = set()


def note(name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Remember a program by the first line that it prints about its version."""
    shown = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=20, env=dict(environment or {}) or None
    )
    lines = (shown.stdout + shown.stderr).strip().splitlines()
    programs.add(f"{name}: {lines[0] if lines else 'version unknown'}")
