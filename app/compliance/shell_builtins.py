"""What a few programs print, where that can be told without running them."""

import re
from collections.abc import Sequence

from app.compliance.shell_command import bounded
from app.compliance.shell_words import unescape

_DIRECTIVE = re.compile(r"%(?:%|-?\d*([sbqd]))")


def printed(words: Sequence[str], read: str | None) -> str | None:
    """Return the output of a command that reads a text, or None where it cannot be told."""
    if not words:
        return None
    name, arguments = words[0].rpartition("/")[2], list(words[1:])
    operands = [word for word in arguments if not word.startswith("-")]
    if name == "echo":
        return _echo(arguments)
    if name == "printf":
        return _printf([word for word in arguments if word != "--"])
    if name == "tee" or (name == "cat" and not operands):
        return read
    if name == "which" or (name in {"command", "type"} and arguments[:1] in (["-v"], ["-p"], ["-P"])):
        return "\n".join(operands) + "\n"
    return None


def _echo(arguments: list[str]) -> str:
    flags = ""
    while arguments and re.fullmatch(r"-[neE]+", arguments[0]):
        flags += arguments.pop(0)
    text = " ".join(arguments) + ("" if "n" in flags else "\n")
    return unescape(text) if "e" in flags else text


def _printf(arguments: list[str]) -> str | None:
    if not arguments or arguments[0].startswith("-"):
        return None
    form, values = unescape(arguments[0]), arguments[1:]
    if "%" in _DIRECTIVE.sub("", form):
        return None
    takes = sum(1 for directive in _DIRECTIVE.finditer(form) if directive[1])
    text = ""
    while True:
        text = bounded(text + _DIRECTIVE.sub(lambda directive: _filled(directive, values), form))
        if not values or not takes:
            return text


def _filled(directive: re.Match[str], values: list[str]) -> str:
    if directive[1] is None:
        return "%"
    value = values.pop(0) if values else ""
    return unescape(value) if directive[1] == "b" else value
