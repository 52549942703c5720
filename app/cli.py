"""The command `aoss`."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from app.commands.metrics import FORMATS, metrics


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aoss` and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "metrics":
        return metrics(options.format)
    for name in ("host", "port", "workers"):
        if (value := getattr(options, name)) is not None:
            os.environ[f"AOSS_{name.upper()}"] = str(value)
    # Imported where wanted: it brings the whole backend, which the other commands do without.
    from app.commands.serve import serve  # noqa: PLC0415

    return serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aoss", description="Plan shell steps and run them on servers.")
    parser.add_argument("--version", action="version", version=f"aoss {version('aoss-telemetry')}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="start the backend",
        description="Start the backend. Every setting can also be given in the environment: see the README.",
    )
    serve.add_argument("--host", help="address to listen on (AOSS_HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (AOSS_PORT, 8000)")
    serve.add_argument("--workers", type=int, help="number of processes (AOSS_WORKERS, 1)")
    reference = commands.add_parser(
        "metrics",
        help="list the metrics",
        description="List every metric of AOSS and of its pipeline, with labels and units.",
    )
    reference.add_argument("--format", choices=FORMATS, default="table", help="how to write them (table)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
