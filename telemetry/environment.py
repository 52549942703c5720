"""Settings read from environment variables, each checked once, each complaint by key and value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class SettingsError(Exception):
    """Report every setting that cannot be used, by key and value."""


class Environment:
    """Read typed values from a mapping and collect what is wrong with them.

    An empty value counts as unset. A value that cannot be used yields the default and a line in `problems`,
    so that one start shows every mistake; `refused` holds the keys of such values. The value of a secret
    never appears in a problem.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.problems: list[str] = []
        self.refused: set[str] = set()

    def text(self, key: str, default: str = "") -> str:
        """Return the value without surrounding white space."""
        return self._values.get(key, "").strip() or default

    def number(self, key: str, default: float, *, minimum: float, maximum: float) -> float:
        """Return a number between two bounds, both allowed."""
        value = self.text(key)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            return self._refuse(key, value, "is not a number", default)
        if not minimum <= number <= maximum:
            return self._refuse(key, value, f"is not between {minimum:g} and {maximum:g}", default)
        return number

    def integer(self, key: str, default: int, *, minimum: int, maximum: int) -> int:
        """Return a whole number between two bounds, both allowed."""
        number = self.number(key, default, minimum=minimum, maximum=maximum)
        if number != int(number):
            return self._refuse(key, self.text(key), "is not a whole number", default)
        return int(number)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return whether the value is `true`; `false` is the only other value."""
        return self.choice(key, "true" if default else "false", ("true", "false")) == "true"

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed words, whatever its case."""
        value = self.text(key)
        if not value:
            return default
        if value.lower() not in allowed:
            return self._refuse(key, value, f"is not one of {', '.join(allowed)}", default)
        return value.lower()

    def words(self, key: str) -> tuple[str, ...]:
        """Return the words of a comma-separated list."""
        return tuple(word.strip() for word in self.text(key).split(",") if word.strip())

    def url(self, key: str, default: str = "") -> str:
        """Return an http or https address."""
        value = self.text(key)
        if not value:
            return default
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            # Whatever stands before the @ may be a password.
            shown = re.sub(r"[^/]*@", "…@", value)
            return self._refuse(key, shown, "is not an http or https address", default)
        return value.rstrip("/")

    def secret(self, key: str) -> str | None:
        """Return a secret given as KEY, or as the first line of the file that KEY_FILE names."""
        value, path = self.text(key), self.text(f"{key}_FILE")
        if value and path:
            self.problems.append(f"{key} and {key}_FILE are both set: give one of them")
            return None
        if not path:
            return value or None
        try:
            lines = Path(path).read_text(encoding="utf-8").strip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{key}_FILE={path!r} cannot be read: {error}")
            return None
        if not lines:
            self.problems.append(f"{key}_FILE={path!r} is empty")
            return None
        return lines[0].strip()

    def raise_problems(self) -> None:
        """Raise SettingsError if anything was wrong."""
        if self.problems:
            raise SettingsError("\n".join(self.problems))

    def refuse(self, key: str, value: str, why: str) -> None:
        """Note that a value cannot be used."""
        self.problems.append(f"{key}={value!r} {why}")
        self.refused.add(key)

    def refuse_secret(self, key: str, why: str) -> None:
        """Note that a value cannot be used that may be a secret."""
        self.problems.append(f"{key} {why}")
        self.refused.add(key)

    def _refuse(self, key: str, value: str, why: str, default: T) -> T:
        self.refuse(key, value, why)
        return default
