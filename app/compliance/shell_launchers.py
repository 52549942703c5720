"""How programs run other programs: `sudo CMD`, `bash -c CODE`, `find … -exec CMD ;`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=(.*)", re.DOTALL)
_STANDARD_INPUT = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})


@dataclass(frozen=True, slots=True)
class Code:
    """Text that runs as code, and its positional parameters, `$0` first."""

    text: str
    arguments: tuple[str, ...] = ()


@dataclass(slots=True)
class Launch:
    """What one call of a launcher starts.

    `appends` says that words from standard input follow the command; they stand where `placeholder` does.
    `directory` is where it runs, if an option says so.
    """

    commands: list[list[str]] = field(default_factory=list)
    code: list[Code] = field(default_factory=list)
    script: str | None = None
    reads_input: bool = False
    assignments: list[tuple[str, str]] = field(default_factory=list)
    appends: bool = False
    placeholder: str = ""
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Launcher:
    """The way one family of programs takes what it runs.

    `values` are the options that take a value. A command begins at operand `command`; code in the shell's
    language begins there if `joins`, all further words belonging to it. `code_options` take code as their
    value; with `code_flag` the first operand is code. `script` programs run their first operand as a file.
    `input` programs without any of those run what they read; `input_flags` make them do so. `inert` flags
    make them only look. `exec` options start a command that ends at `;` or `+`. `appends` programs take
    words from their input. `directory` options name the directory to run in. Where there are `verbs`, the
    first operand must be one of them. `shell` says that their code is in the shell's language.
    """

    names: frozenset[str]
    values: frozenset[str] = frozenset()
    command: int | None = None
    joins: bool = False
    code_options: frozenset[str] = frozenset()
    code_flag: str = ""
    script: bool = False
    input: bool = False
    input_flags: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    exec: frozenset[str] = frozenset()
    appends: bool = False
    placeholder: frozenset[str] = frozenset()
    directory: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    shell: bool = True

    def launch(self, words: Sequence[str]) -> Launch:
        """Return what the call with these words, its name left out, starts."""
        if self.exec:
            return Launch(commands=list(self._executed(words)))
        result = Launch(appends=self.appends)
        options, rest = self._parse(words, result)
        if options & self.inert:
            return Launch()
        if self.code_flag and self.code_flag in options:
            result.code += [Code(rest[0], tuple(rest[1:]))] if rest else []
        elif self.script:
            self._take_script(rest, options, result)
        elif rest and self.joins:
            result.code.append(Code(" ".join(rest)))
        elif rest:
            result.commands.append(rest)
        nothing = not (result.code or result.commands or result.script)
        result.reads_input |= bool(options & self.input_flags) or (self.input and nothing)
        return result

    def _take_script(self, rest: list[str], options: set[str], result: Launch) -> None:
        if result.code or options & self.input_flags:
            return
        if "-" in options or (rest and rest[0] in _STANDARD_INPUT):
            result.reads_input = True
        elif rest:
            result.script = rest[0]

    def _parse(self, words: Sequence[str], result: Launch) -> tuple[set[str], list[str]]:
        """Return the options seen and the words from the operand where the command begins."""
        options: set[str] = set()
        operands = 0
        start = 0 if self.script or self.code_flag else self.command
        i = 0
        while i < len(words):
            word = words[i]
            i += 1
            assignment = ASSIGNMENT.fullmatch(word)
            if word == "--":
                return options, list(words[i + (start or 0) - operands :]) if start is not None else []
            if word == "-":
                options.add(word)
            elif word[:1] in {"-", "+"} and len(word) > 1:
                i += self._option(word, words[i] if i < len(words) else "", options, result)
            elif assignment and start == 0:
                result.assignments.append((assignment[1], assignment[2]))
            elif start is not None and operands >= start:
                return options, list(words[i - 1 :])
            elif not operands and self.verbs and word not in self.verbs:
                return options, []
            else:
                operands += 1
        return options, []

    def _option(self, word: str, following: str, options: set[str], result: Launch) -> int:
        """Note one word of options; return 1 if it takes the following word as its value."""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            name = self._unabbreviated(name)
            names = [(name, value, bool(equals))]
        elif word in self.values | self.code_options:
            names = [(word, "", False)]
        else:
            names = [
                (word[0] + letter, word[at + 1 :], at + 1 < len(word)) for at, letter in enumerate(word) if at
            ]
        for name, value, attached in names:
            options.add(name)
            taken = value if attached else following
            if name in self.placeholder:
                result.placeholder = taken or "{}"
            if name in self.directory:
                result.directory = taken
            if name in self.code_options:
                result.code.append(Code(taken))
            if name in self.values or name in self.code_options:
                return 0 if attached else 1
        return 0

    def _unabbreviated(self, name: str) -> str:
        takers = self.values | self.code_options
        if name in takers:
            return name
        fits = [full for full in takers if full.startswith(name) and len(name) > 3]
        return fits[0] if len(fits) == 1 else name

    def _executed(self, words: Sequence[str]) -> Iterable[list[str]]:
        current: list[str] | None = None
        for word in words:
            if current is None:
                current = [] if word in self.exec else None
            elif word == ";" or (word == "+" and current[-1:] == ["{}"]):
                yield current
                current = None
            else:
                current.append(word)
        if current:
            yield current
