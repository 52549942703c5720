"""Find and replace program calls in the text of a shell command, by its grammar and not by its look."""

import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from tree_sitter import Node

from app.compliance.shell_command import TooComplexError
from app.compliance.shell_grammar import UnparsableError, parse

_PROCESSOR_SECONDS = 0.3

# Programs that run the program named after their own options, assignments and durations.
_WRAPPERS = frozenset(
    {"sudo", "env", "timeout", "nohup", "nice", "setsid", "exec", "command", "xargs", "time"}
)
_WRAPPERS_LIMIT = 8
_VALUE_OPTIONS = frozenset({"-u", "-g", "-s", "-C", "-I"})
_SKIPPED = re.compile(r"-.*|\w+=.*|\d+(\.\d+)?[smhd]?")


@dataclass(frozen=True, slots=True)
class Call:
    """A program call: its name and arguments as written, and where they stand (in characters)."""

    program: str
    arguments: str
    start: int
    end: int


def calls(command: str) -> tuple[Call, ...]:
    """Return the program calls of a command, substitutions included; none if it cannot be parsed."""
    return _found(command)[0]


def rewrite(command: str, program: str, replace: Callable[[Call], str | None]) -> str | None:
    """Return the command with every call of a program replaced; None if any of them cannot be."""
    found = sorted((call for call in calls(command) if call.program == program), key=lambda call: call.start)
    if any(first.end > second.start for first, second in pairwise(found)):
        return None
    pieces, at = [], 0
    for call in found:
        replacement = replace(call)
        if replacement is None:
            return None
        pieces += [command[at : call.start], replacement]
        at = call.end
    changed = "".join([*pieces, command[at:]])
    return changed if changed != command else None


def plain_words(text: str) -> list[str] | None:
    """Return the words of an argument list without their quotes; None where the shell would expand it."""
    if re.search(r"[$`*?\[{~<>|&;()]", text):
        return None
    try:
        return shlex.split(text)
    except ValueError:
        return None


def in_literal(command: str, word: str) -> bool:
    """Say whether a word stands where the shell expands nothing: in single quotes, in a here-document."""
    return any(re.search(rf"\b{re.escape(word)}\b", literal) for literal in _found(command)[1])


@lru_cache(maxsize=16)  # the remedies ask for the same command again and again
def _found(command: str) -> tuple[tuple[Call, ...], tuple[str, ...]]:
    """Return the calls and the literal texts of a command."""
    try:
        root = parse(command, time.thread_time() + _PROCESSOR_SECONDS)
    except (UnparsableError, TooComplexError):
        return (), (command,)
    found: list[Call] = []
    literals: list[str] = []
    for node in _descendants(root):
        if node.type == "command":
            found.extend(_calls(node, command))
        elif node.type in {"raw_string", "heredoc_body", "ansi_c_string"}:
            literals.append(command[node.start_byte : node.end_byte])
    return tuple(found), tuple(literals)


def _descendants(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(current.children))


def _calls(node: Node, source: str) -> Iterator[Call]:
    """Yield the call that a command node makes, and those of the programs that it wraps.

    The grammar sees one byte for each character, so that its offsets are those of the text.
    """
    words = [child for child in node.children if child.type not in {"variable_assignment", "file_redirect"}]
    # A redirection between the words would be lost with the text that is replaced.
    redirected = any(child.type.endswith("redirect") for child in node.children)
    for _ in range(_WRAPPERS_LIMIT):
        if not words or redirected:
            return
        name = _plain(words[0], source)
        if name is None:
            return
        yield Call(
            program=name,
            arguments=source[words[0].end_byte : words[-1].end_byte].strip(),
            start=words[0].start_byte,
            end=words[-1].end_byte,
        )
        if name not in _WRAPPERS:
            return
        words = _wrapped(words[1:], source)


def _wrapped(words: list[Node], source: str) -> list[Node]:
    while words:
        word = _plain(words[0], source)
        if word is None or not _SKIPPED.fullmatch(word):
            break
        words = words[2:] if word in _VALUE_OPTIONS else words[1:]
    return words


def _plain(node: Node, source: str) -> str | None:
    words = plain_words(source[node.start_byte : node.end_byte])
    return words[0] if words and len(words) == 1 else None
