"""The command `aoss`: its commands, put together."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from app.commands import completion, demo, doctor, metrics, serve, top
from app.commands.errors import UsageError
from app.errors import AossError

DESCRIPTION = """\
Plan shell steps, run them on servers, and measure all of it.

Start with `aoss serve`, open the address that it prints, and let `aoss demo` fill the charts.
"""
EPILOG = """\
exit codes: 0 done; 1 it failed, or the verdict is bad; 2 wrong usage; 130 stopped by Ctrl-C

`aoss COMMAND --help` has the options, the environment and examples of one command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aoss` and return its exit code."""
    try:
        options = parser().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        return _complain(error, 2)
    except AossError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Who read the output has gone, as in `aoss metrics | head`; what is left must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="aoss",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"aoss {version('aoss-telemetry')}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, demo, top, doctor, metrics, completion):
        command.add_parser(commands)
    return root


def _complain(error: AossError, code: int) -> int:
    print(f"aoss: {error}", file=sys.stderr)  # noqa: T201 - a command
    return code


if __name__ == "__main__":
    sys.exit(main())
