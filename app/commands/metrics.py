"""`aoss metrics`: the reference of the metrics."""

import argparse
import sys

from telemetry import reference

FORMATS = {
    "table": reference.as_table,
    "markdown": reference.as_markdown,
    "json": reference.as_json,
}

EPILOG = """\
examples:
  aoss metrics
  aoss metrics --format markdown    # docs/metrics.md is this
  aoss metrics --format json | jq -r '.[].prometheusName'

It needs no backend: the list comes from the catalogue that the backend records by.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "metrics",
        help="list the metrics",
        description="List every metric of AOSS and of its pipeline, with kind, unit and labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="how to write them (table)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the reference and return the exit code."""
    sys.stdout.write(FORMATS[options.format]())
    return 0
