"""The pattern language of the compliance rules, over parsed simple commands."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from app.compliance.compliance_paths import matches, readings, segments
from app.compliance.shell_command import Command, Kind, Unknowns, has_unknown, is_unknown

_SHORT_FLAGS = re.compile(r"-[A-Za-z0-9]+")
_GLOB_IN_NAME = re.compile(r"[*?]|\[.+\]")


class PatternError(Exception):
    """Report what is wrong with a pattern."""


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""What a command must be like: every condition that is given must hold.

    - `name`: its name without directory is one of these, wildcards allowed.
    - `flags`: of each group one is given, in any order, long or short, alone or clustered.
    - `without_flags`: none of these is given.
    - `operands`: an operand names one of these paths, or empties it (`/etc/*`); only operands that begin with
      `operand_prefix` count, which is taken off, and only the last of them if `last_operand`, all others if
      `but_last`. A path after `!` is none of them.
    - `any_operand`: it has operands.
    - `runs_in`: the directory that it runs in is one of these.
    - `writes`: a redirection writes to one of these paths.
    - `text`, `without_text`: all, none of these expressions are found in its words, joined by blanks; for
      `without_text`, a blank within a word is a no-break space, so that no remark passes for an option.
    - `runs`, `runs_output_of`, `piped_from`: a command matches that it starts, whose output it runs as
      code, or that writes to the pipeline it reads; `not_piped_from`: none that writes to it does.
    - `target_from_other_than`: an operand is nothing but the output of a command other than these.
    - `multiplies`: it is a function that starts itself again in parallel.
    - `unknown_name`: its name without directory cannot be worked out.
    """

    name: tuple[str, ...] = ()
    flags: tuple[tuple[str, ...], ...] = ()
    without_flags: tuple[str, ...] = ()
    operands: tuple[tuple[str, ...], ...] = ()
    operand_prefix: str = ""
    last_operand: bool = False
    but_last: bool = False
    any_operand: bool = False
    runs_in: tuple[tuple[str, ...], ...] = ()
    writes: tuple[tuple[str, ...], ...] = ()
    text: tuple[re.Pattern[str], ...] = ()
    without_text: tuple[re.Pattern[str], ...] = ()
    runs: "Pattern | None" = None
    runs_output_of: "Pattern | None" = None
    piped_from: "Pattern | None" = None
    not_piped_from: "Pattern | None" = None
    target_from_other_than: tuple[str, ...] = ()
    multiplies: bool = False
    unknown_name: bool = False

    @classmethod
    def from_data(cls, data: object) -> "Pattern":
        """Return the pattern that a mapping describes; raises PatternError."""
        if not isinstance(data, Mapping) or not data:
            raise PatternError(f"a pattern is a mapping of conditions, not {data!r}")
        known = {field.name for field in fields(cls)}
        unknown = sorted(str(key) for key in data if key not in known)
        if unknown:
            raise PatternError(
                f"unknown condition {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            )
        return cls(**{key: _condition(key, value) for key, value in data.items()})

    def matches(self, command: Command, unknowns: Unknowns) -> bool:
        """Return whether a command matches."""
        return (
            (not self.name or any(fnmatchcase(command.name, each) for each in self.name))
            and (not self.multiplies or command.multiplies)
            and (not self.unknown_name or _name_is_unknown(command))
            and all(_has_flag(command, group, abbreviated=True) for group in self.flags)
            and not (self.without_flags and _has_flag(command, self.without_flags, abbreviated=False))
            and self._words_match(command, unknowns)
            and _any_matches(self.runs, command.runs, unknowns)
            and _any_matches(self.runs_output_of, command.feeds, unknowns)
            and _any_matches(self.piped_from, command.upstream, unknowns)
            and not (self.not_piped_from and _any_matches(self.not_piped_from, command.upstream, unknowns))
        )

    def _words_match(self, command: Command, unknowns: Unknowns) -> bool:
        if self.writes and not _names_path(command.writes, self.writes, command, unknowns):
            return False
        if self.runs_in and not _names_path([command.directory or ""], self.runs_in, command, unknowns):
            return False
        if self.text or self.without_text:
            text = " ".join(command.words[1:])
            if not all(expression.search(text) for expression in self.text):
                return False
            unspaced = " ".join(word.replace(" ", "\N{NO-BREAK SPACE}") for word in command.words[1:])
            if any(expression.search(unspaced) for expression in self.without_text):
                return False
        if not (self.operands or self.any_operand or self.target_from_other_than):
            return True
        chosen = [word for word in operands(command) if word.startswith(self.operand_prefix)]
        chosen = chosen[-1:] if self.last_operand else chosen[:-1] if self.but_last else chosen
        chosen = [word[len(self.operand_prefix) :] for word in chosen]
        return (
            bool(chosen)
            and (not self.operands or _names_path(chosen, self.operands, command, unknowns))
            and (
                not self.target_from_other_than
                or any(_is_output(word, self.target_from_other_than, unknowns) for word in chosen)
            )
        )


def operands(command: Command) -> list[str]:
    """Return the words after the name that are not flags."""
    found: list[str] = []
    rest = list(command.words[1:])
    while rest:
        word = rest.pop(0)
        if word == "--":
            return found + rest
        if not word.startswith("-") or word == "-":
            found.append(word)
    return found


def _has_flag(command: Command, flags: Sequence[str], *, abbreviated: bool) -> bool:
    for word in command.words[1:]:
        if word == "--":
            return False
        given = word.partition("=")[0]
        for flag in flags:
            short = len(flag) == 2 and flag[0] == "-" and _SHORT_FLAGS.fullmatch(word) and flag[1] in word[1:]
            long = abbreviated and len(given) > 2 and flag.startswith("--") and flag.startswith(given)
            if given == flag or short or long:
                return True
    return False


def _names_path(
    words: Sequence[str], patterns: Sequence[tuple[str, ...]], command: Command, unknowns: Unknowns
) -> bool:
    excepted = [("", *pattern[1:]) for pattern in patterns if pattern[0] == "!"]
    return any(
        matches(pattern, parts) and not any(matches(other, parts) for other in excepted)
        for word in words
        for parts in readings(word, command.directory, unknowns)
        for pattern in patterns
    )


def _any_matches(pattern: Pattern | None, commands: Sequence[Command], unknowns: Unknowns) -> bool:
    return pattern is None or any(pattern.matches(command, unknowns) for command in commands)


def _is_output(word: str, trusted: Sequence[str], unknowns: Unknowns) -> bool:
    word = word.rstrip("/*.")
    return is_unknown(word) and any(
        unknown.kind is Kind.OUTPUT and not any(source.name in trusted for source in unknown.sources)
        for unknown in unknowns.within(word)
    )


def _name_is_unknown(command: Command) -> bool:
    return has_unknown(command.name) or _GLOB_IN_NAME.search(command.name) is not None


def _condition(key: str, value: object) -> Any:
    if key in {"runs", "runs_output_of", "piped_from", "not_piped_from"}:
        return Pattern.from_data(value)
    if key in {"last_operand", "but_last", "any_operand", "multiplies", "unknown_name"}:
        if value is not True:
            raise PatternError(f"{key} is true or left out, not {value!r}")
        return True
    if key == "operand_prefix":
        return _texts(key, [value])[0]
    if key == "flags":
        if not isinstance(value, list) or not value:
            raise PatternError(f"flags is a list of groups of flags, not {value!r}")
        return tuple(_texts(key, group) for group in value)
    texts = _texts(key, value)
    return tuple(_CONVERTERS.get(key, str)(each) for each in texts)


def _expression(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise PatternError(f"broken expression {text!r}: {error}") from error


_CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    "operands": segments,
    "runs_in": segments,
    "writes": segments,
    "text": _expression,
    "without_text": _expression,
}


def _texts(key: str, value: object) -> tuple[str, ...]:
    """Return the texts of a list; a list within it, as an anchor leaves it, is taken into its place."""
    if not isinstance(value, list) or not value:
        raise PatternError(f"{key} is a list of texts, not {value!r}")
    texts = [each for item in value for each in (item if isinstance(item, list) else [item])]
    if not all(isinstance(each, str) and each for each in texts):
        raise PatternError(f"{key} holds something that is not a text: {value!r}")
    return tuple(texts)
