"""`aoss top`: the live numbers of a /metrics address in a terminal."""

import argparse
import sys
from urllib.parse import urlsplit

from app.commands.access import add_token_file, address, token

DEFAULT_URL = "http://127.0.0.1:8000/metrics"
PIPED_WIDTH = 160

DESCRIPTION = """\
Show the live numbers of a /metrics address: the executions of AOSS where there are any, and the busiest
counters, the quantiles of histograms and the gauges of any service, summed over their labels.

Rates and quantiles are those of the last minute; with --once, quantiles are those since the service began."""

EPILOG = """\
examples:
  aoss top
  aoss top http://127.0.0.1:9090            # Prometheus' own metrics; the path is /metrics if none is given
  aoss top --once | grep aoss_

keys: q or Ctrl-C ends, Ctrl-Z suspends

environment: AOSS_METRICS_TOKEN or AOSS_METRICS_TOKEN_FILE, else AOSS_API_KEY or AOSS_API_KEY_FILE: the token,
             where no --token-file is given. It is sent only where the address asks for one (401).
             NO_COLOR: without colours.

exit codes: 0 ended by q, or printed once; 1 the address does not answer with metrics; 2 wrong usage;
            130 ended by Ctrl-C. An address that fails later is waited for.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "top",
        help="show the live numbers of a /metrics address",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        type=address,
        default=DEFAULT_URL,
        help=f"the address ({DEFAULT_URL})",
    )
    parser.add_argument(
        "--once", action="store_true", help="print one table and end; so it does without a terminal"
    )
    add_token_file(parser, "file with the token of the address")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the numbers until told to end and return the exit code."""
    # Imported where wanted: the other commands do without.
    from rich.console import Console  # noqa: PLC0415

    from app.top.scrape import Address  # noqa: PLC0415
    from app.top.screen import show_once, watch  # noqa: PLC0415

    url = options.url if urlsplit(options.url).path else f"{options.url}/metrics"
    # Into a pipe no name is cut.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    with Address(url, token(options.token_file, "AOSS_METRICS_TOKEN", "AOSS_API_KEY")) as metrics:
        if options.once or not console.is_terminal or console.is_dumb_terminal:
            return show_once(metrics, console)
        return watch(metrics, console)
