"""`aoss completion`: the script that lets a shell complete the command line."""

import argparse
import sys

SHELLS = ("bash", "zsh", "tcsh")

EPILOG = """\
examples:
  eval "$(aoss completion bash)"                # bash, for this session; in ~/.bashrc for every one
  aoss completion zsh > ~/.zfunc/_aoss          # zsh; the folder stands on fpath before compinit runs
  aoss completion tcsh > ~/.aoss.csh            # tcsh; `source ~/.aoss.csh` in ~/.tcshrc
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print the script that lets a shell complete commands, options and file names.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script and return the exit code."""
    # Imported here because the whole command line is built from this file too.
    import shtab  # noqa: PLC0415

    from app.cli import parser  # noqa: PLC0415

    sys.stdout.write(shtab.complete(parser(), options.shell).rstrip("\n") + "\n")
    return 0
