"""What a shell remembers from one command to the next: variables, the directory, who calls whom."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod

from app.compliance.shell_command import TooComplexError, is_unknown
from app.compliance.shell_words import Value

_WORLD_LIMIT = 1024


class Scope:
    """Keep every value that a variable ever gets: an assignment may stand in a branch or in a loop."""

    def __init__(self) -> None:
        # Both the local runner and a login over SSH start a command at home.
        self.directory: str | None = "~"
        self._previous: str | None = "~"
        self._variables: dict[str, list[Value]] = {
            "HOME": [("~",)],
            "IFS": [(" \t\n",)],
            "SHELL": [("/bin/sh",)],
        }
        self._calls: set[tuple[str, str, bool]] = set()

    def assign(self, name: str, value: Value) -> None:
        """Note one more value of a variable."""
        values = self._variables.setdefault(name, [])
        if value not in values:
            values.append(value)
        if len(values) > _WORLD_LIMIT:
            raise TooComplexError

    def worlds(self, texts: Sequence[str]) -> list[dict[str, Value]]:
        """Return one value for each variable, in every combination of those that the texts may name."""
        base = {name: values[-1] for name, values in self._variables.items()}
        if self.directory is not None:
            base.setdefault("PWD", (self.directory,))
        base["IFS"] = ("".join("".join(value) for value in self._variables["IFS"]),)
        several = sorted(
            name for name, values in self._variables.items() if len(values) > 1 and name != "IFS"
        )
        named = [name for name in several if any(name in text for text in texts)]
        choices = [self._variables[name] for name in named]
        if prod(len(values) for values in choices) > _WORLD_LIMIT:
            raise TooComplexError
        return [base | dict(zip(named, chosen, strict=True)) for chosen in product(*choices)]

    def set_positional(self, arguments: Sequence[str]) -> None:
        """Give the positional parameters values, `$0` first."""
        numbered: dict[str, list[Value]] = {str(at): [(word,)] for at, word in enumerate(arguments)}
        self._variables |= numbered | {"@": [tuple(arguments[1:])]}

    def shift(self, count: int) -> None:
        """Drop the first `count` positional parameters."""
        for known in self._variables.get("@", [])[-1:]:
            zero = "".join(self._variables.get("0", [("",)])[-1])
            self._variables = {
                name: values for name, values in self._variables.items() if not name.isdecimal()
            }
            self.set_positional([zero, *known[count:]])

    @contextmanager
    def bound(self, arguments: Sequence[str]) -> Iterator[None]:
        """Give the positional parameters values for a while."""
        outer = {name: values for name, values in self._variables.items() if _is_positional(name)}
        self.set_positional(arguments)
        yield
        kept = {name: values for name, values in self._variables.items() if not _is_positional(name)}
        self._variables = kept | outer

    def enter(self, arguments: Sequence[str]) -> None:
        """Follow a `cd`, as far as it can be followed."""
        operands = [word for word in arguments if not word.startswith("-")]
        target = operands[0] if operands else "~"
        left = self.directory
        if "-" in arguments:
            self.directory = self._previous
        elif is_unknown(target[:1]):
            self.directory = None
        elif target.startswith(("/", "~")):
            self.directory = target
        elif left is not None:
            self.directory = f"{left}/{target}"
        self._previous = left

    @contextmanager
    def inside(self, directory: str) -> Iterator[None]:
        """Run in another directory for a while."""
        outer = self.directory
        self.enter([directory])
        yield
        self.directory = outer

    def note_call(self, caller: str, callee: str, *, parallel: bool) -> None:
        """Note that a function's body calls a function, in the background or in a pipeline if `parallel`."""
        self._calls.add((caller, callee, parallel))

    def multiplying(self) -> list[str]:
        """Return the functions that reach themselves again through a call made in parallel."""
        callees: dict[str, set[str]] = {}
        for caller, callee, _ in self._calls:
            callees.setdefault(caller, set()).add(callee)
        found = set()
        for caller, callee, parallel in self._calls:
            reached: set[str] = set()
            pending = {callee} if parallel else set()
            while pending:
                current = pending.pop()
                reached.add(current)
                pending |= callees.get(current, set()) - reached
            if caller in reached:
                found.add(caller)
        return sorted(found)


def _is_positional(name: str) -> bool:
    return name == "@" or name.isdecimal()
