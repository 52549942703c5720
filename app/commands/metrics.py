"""`aoss metrics`: the reference of the metrics."""

import sys

from telemetry import reference

FORMATS = {
    "table": reference.as_table,
    "markdown": reference.as_markdown,
    "json": reference.as_json,
}


def metrics(form: str) -> int:
    """Print the reference in one of FORMATS and return the exit code."""
    sys.stdout.write(FORMATS[form]())
    return 0
