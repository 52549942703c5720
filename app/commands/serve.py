"""`aoss serve`: start the backend."""

import argparse
import os

# Beyond the drain limit, for streams to show their last events; a reader that does not read is then cut off.
GRACE_SECONDS = 2

EPILOG = """\
examples:
  aoss serve
  aoss serve --workers 4 --port 8080
  AOSS_API_KEY_FILE=key aoss serve --host 0.0.0.0

environment: every setting is a variable AOSS_*; the README lists them. An option here wins over its variable.
Without AOSS_API_KEY it listens on loopback addresses only: whoever reaches it can run commands.

SIGTERM or Ctrl-C stops it: it starts nothing new, and after AOSS_DRAIN_SECONDS (20) ends what still runs.

exit codes: 0 stopped in good order; 1 it cannot listen there, or the database cannot be used;
            2 a setting cannot be used; 3 it failed while it started
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="start the backend",
        description="Start the backend: the API, /metrics, and the console at /.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help="address to listen on (AOSS_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (AOSS_PORT, 8000)")
    parser.add_argument("--workers", type=int, help="number of processes (AOSS_WORKERS, 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop and return the exit code."""
    for name in ("host", "port", "workers"):
        if (value := getattr(options, name)) is not None:
            os.environ[f"AOSS_{name.upper()}"] = str(value)
    # Imported where wanted: it brings the whole backend, which the other commands do without.
    from app.serving import serve  # noqa: PLC0415

    return serve(GRACE_SECONDS)
