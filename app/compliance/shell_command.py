"""What is known of a simple command after the shell grammar, the quoting and the variables are worked out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

# A value that cannot be worked out stands in the text as one character of the supplementary private use
# area A, an index into `Unknowns`; so its origin survives quoting, splitting, joining and a second parse.
_FIRST, _LAST = 0xF0000, 0xFFFFD
_MARK = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
TEXT_LIMIT = 64 * 1024
_RESERVED = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}\ufdd0-\ufdef]")


class TooComplexError(Exception):
    """Report a command that would take too long to judge."""


class Kind(Enum):
    """What is known of a value that cannot be worked out."""

    VARIABLE = auto()  # nobody sets it here, or input does: possibly empty
    FILLED = auto()  # never empty: a process id, `${x:?}`, a number
    OUTPUT = auto()  # what a command prints, or an expansion too involved to follow


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command, its words free of quoting and expansions, its name first.

    `words` is empty where redirections stand alone or apply to a compound command, whose targets are
    `writes`. `directory` is where it runs if a `cd` said so. `prints` is its output where that is static.
    `feeds` are the commands whose output it runs as code, `upstream` those whose output it reads, `runs`
    those that it starts itself (`sudo rm` runs `rm`). `multiplies` marks a function that starts itself
    again in the background or in a pipeline.
    """

    words: tuple[str, ...]
    writes: tuple[str, ...] = ()
    directory: str | None = None
    prints: str | None = None
    feeds: tuple["Command", ...] = ()
    upstream: tuple["Command", ...] = ()
    runs: tuple["Command", ...] = ()
    multiplies: bool = False

    @property
    def name(self) -> str:
        """Return the name without its directory."""
        return self.words[0].rpartition("/")[2] if self.words else ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that cannot be worked out, and the commands that produce it."""

    kind: Kind
    sources: tuple[Command, ...] = ()


class Unknowns:
    """Hand out the characters that stand for unknown values."""

    def __init__(self) -> None:
        self._known: list[Unknown] = []

    def mark(self, kind: Kind, sources: Iterable[Command] = ()) -> str:
        """Return the character that stands for a new unknown value."""
        if len(self._known) > _LAST - _FIRST:
            raise TooComplexError
        self._known.append(Unknown(kind, tuple(sources)))
        return chr(_FIRST + len(self._known) - 1)

    def within(self, text: str) -> list[Unknown]:
        """Return the unknown values that a text holds."""
        return [self._known[ord(character) - _FIRST] for character in _MARK.findall(text)]

    def sources(self, text: str) -> tuple[Command, ...]:
        """Return the commands whose output is part of a text."""
        return tuple(source for unknown in self.within(text) for source in unknown.sources)

    def are_output(self, text: str) -> bool:
        """Return whether a text is nothing but what commands print: `eval "$(ssh-agent -s)"`."""
        return is_unknown(text) and all(each.kind is Kind.OUTPUT for each in self.within(text))

    def without(self, text: str, *kinds: Kind) -> str:
        """Return a text with the unknown values of these kinds taken to be empty."""
        return _MARK.sub(
            lambda mark: "" if self._known[ord(mark[0]) - _FIRST].kind in kinds else mark[0], text
        )


def has_unknown(text: str) -> bool:
    """Return whether a part of the text could not be worked out."""
    return _MARK.search(text) is not None


def is_unknown(text: str) -> bool:
    """Return whether no part of the text could be worked out."""
    return bool(text) and not _MARK.sub("", text)


def split_unknown(text: str) -> list[str]:
    """Return the known parts around each unknown one."""
    return _MARK.split(text)


def reserve(text: str) -> str:
    """Return a user's text without the characters that have a meaning of their own here."""
    return _RESERVED.sub("\ufffd", text)


def bounded(text: str) -> str:
    """Return a text; raises TooComplexError where it is longer than any command may be."""
    if len(text) > TEXT_LIMIT:
        raise TooComplexError
    return text
