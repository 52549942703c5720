"""`aoss doctor`: examine a backend and what is around it."""

import argparse
import sys

from app.commands.access import add_token_file, address, token

DEFAULT_URL = "http://127.0.0.1:8000"

DESCRIPTION = """\
Examine a running backend and, where their addresses are given, Prometheus, the Collector and Grafana.

Each line is a verdict (ok, warn, fail, skipped), a check and the reason; below it stands what to do. Some
harmless requests and scrapes are made; nothing is changed."""

EPILOG = """\
examples:
  aoss doctor
  aoss doctor --prometheus http://127.0.0.1:9090 --grafana http://127.0.0.1:3000
  aoss doctor --json | jq -r '.findings[] | select(.verdict == "fail") | .remedy'

environment: AOSS_METRICS_TOKEN or AOSS_METRICS_TOKEN_FILE, else AOSS_API_KEY or AOSS_API_KEY_FILE: the token,
             where no --token-file is given. It is sent only where /metrics asks for one (401).
             NO_COLOR: without colours.

exit codes: 0 nothing fails; 1 a check fails; 2 wrong usage
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "doctor",
        help="find out what is wrong with the metrics, and what to do",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url",
        nargs="?",
        type=address,
        default=DEFAULT_URL,
        metavar="URL",
        help=f"the backend ({DEFAULT_URL})",
    )
    add_token_file(parser, "file with the token of /metrics")
    for option, what in (
        ("--prometheus", "Prometheus, such as http://HOST:9090"),
        ("--collector", "the Collector's health check, such as http://HOST:13133"),
        ("--collector-metrics", "the Collector's own metrics, such as http://HOST:8888/metrics"),
        ("--grafana", "Grafana, such as http://HOST:3000"),
    ):
        parser.add_argument(option, metavar="URL", type=address, help=what)
    parser.add_argument(
        "--grafana-token-file",
        metavar="FILE",
        help="file with the token of a service account of Grafana, or with USER:PASSWORD",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (docs/doctor.md)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Examine, print the report, and return the exit code."""
    # Imported where wanted: the other commands do without.
    from app.doctor.examination import Addresses, examine  # noqa: PLC0415
    from app.doctor.findings import Verdict, result  # noqa: PLC0415
    from app.doctor.report import as_json, print_lines  # noqa: PLC0415
    from app.doctor.web import basic, bearer  # noqa: PLC0415

    own = token(options.token_file, "AOSS_METRICS_TOKEN", "AOSS_API_KEY")
    grafanas = token(options.grafana_token_file)
    findings = examine(
        Addresses(
            backend=options.url,
            prometheus=options.prometheus,
            collector=options.collector,
            collector_metrics=options.collector_metrics,
            grafana=options.grafana,
            token=own,
            # No token of Grafana has a colon.
            grafana_authorization=basic(grafanas) if grafanas and ":" in grafanas else bearer(grafanas),
        )
    )
    if options.json:
        sys.stdout.write(as_json(findings))
    else:
        print_lines(findings, sys.stdout)
    return 1 if result(findings) is Verdict.FAIL else 0
