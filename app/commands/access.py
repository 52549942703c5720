"""Where to ask and with which right: the address and the token that several commands take."""

import argparse
import os
from pathlib import Path
from urllib.parse import urlsplit

from app.commands.errors import UsageError
from telemetry.environment import Environment, SettingsError


def address(text: str) -> str:
    """Return an http or https address without a slash at its end; raises ArgumentTypeError."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an http or https address such as http://127.0.0.1:8000"
        )
    if parts.username is not None or parts.password is not None:
        raise argparse.ArgumentTypeError(
            "an address with a password in it would be seen by every user of this machine"
        )
    return text.rstrip("/")


def add_token_file(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--token-file`; there is no option for the token itself, which every user's `ps` would show."""
    option = parser.add_argument("--token-file", metavar="FILE", help=what)
    option.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]


def token(file: str | None, *names: str) -> str | None:
    """Return the first line of a file, else the first of these variables (or NAME_FILE) that is set.

    Raises UsageError where a file cannot be read or is empty.
    """
    if file is not None:
        return _sendable(_first_line(file))
    environment = Environment(os.environ)
    found = next((value for name in names if (value := environment.secret(name))), None)
    try:
        environment.raise_problems()
    except SettingsError as error:
        raise UsageError(str(error)) from error
    return _sendable(found)


def _first_line(file: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"--token-file {file!r} cannot be read: {error}") from error
    if not lines:
        raise UsageError(f"--token-file {file!r} is empty")
    return lines[0].strip()


def _sendable(secret: str | None) -> str | None:
    if secret is not None and not (secret.isascii() and secret.isprintable()):
        raise UsageError("the token has characters that no header can carry")
    return secret
