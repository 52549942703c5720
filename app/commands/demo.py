"""`aoss demo`: a bounded stream of varied executions that fills every chart."""

import argparse

from app.commands.access import add_token_file, address, token

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_EXECUTIONS = 40
MOST_EXECUTIONS = 10_000

DESCRIPTION = """\
Run a stream of varied executions on the machine of a running backend, four at a time: all agent types, plans
of the planner and plans of its own, successes and failures, healings that help and that do not, a denied
command, a cancelled one, requests that the planner refuses. Forty take about half a minute.

The commands only read, sleep or fail; nothing is changed. At the end, what the streams told is held against
what /metrics counted meanwhile. Ctrl-C cancels what was started."""

EPILOG = """\
examples:
  aoss demo
  aoss demo --executions 400
  aoss demo --url https://aoss.example.com --token-file key

environment: AOSS_API_KEY or AOSS_API_KEY_FILE: the key of the API, where no --token-file is given;
             AOSS_METRICS_TOKEN or AOSS_METRICS_TOKEN_FILE: the token of /metrics, if it is another.
             NO_COLOR: without colours.

exit codes: 0 the numbers agree, or /metrics could not be read; 1 they differ (someone else ran executions
            too, or numbers are lost), or the backend failed; 2 wrong usage; 130 ended by Ctrl-C
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="run varied executions that fill every chart",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        type=address,
        default=DEFAULT_URL,
        help=f"the backend's address ({DEFAULT_URL})",
    )
    parser.add_argument(
        "--executions",
        metavar="NUMBER",
        type=_number,
        default=DEFAULT_EXECUTIONS,
        help=f"how many, up to {MOST_EXECUTIONS} ({DEFAULT_EXECUTIONS})",
    )
    add_token_file(parser, "file with the key of the API")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo and return the exit code."""
    # Imported where wanted: the other commands do without.
    from app.demo.run import demo  # noqa: PLC0415

    key = token(options.token_file, "AOSS_API_KEY")
    return demo(options.url, options.executions, key, token(None, "AOSS_METRICS_TOKEN") or key)


def _number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MOST_EXECUTIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_EXECUTIONS}")
    return number
