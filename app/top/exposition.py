"""Reads a scrape: the text format of Prometheus and OpenMetrics, by one grammar that holds for both.

A service may show 100,000 series, of which a screen shows a few: so a series stays the text that it was sent
as, and its labels are read only where someone asks for them.
"""

import re
from dataclasses import dataclass, field

# Possessive, so that no line, however made, takes more than one pass.
_LABELS = r'\{(?:[^"}\n]++|"(?:[^"\\\n]++|\\.)*+")*+\}'
_NAME = r"[A-Za-z_:][\w:]*+"
_LINE = re.compile(
    r"^(?:"
    r"# TYPE (?P<family>\S+) (?P<type>\w+)[ \t]*"
    r"|#.*"
    r"|[ \t]*"
    rf"|(?P<series>{_NAME}(?:[ \t]*+{_LABELS})?|{_LABELS})[ \t]*+(?P<value>\S++)(?:[ \t].*)?"
    r"|(?P<bad>.+)"
    r")\r?$",
    re.ASCII | re.MULTILINE,
)
_LABEL = re.compile(
    r'(?P<key>[A-Za-z_][\w.]*|"(?:[^"\\]|\\.)*")\s*=\s*"(?P<value>(?:[^"\\]|\\.)*)"', re.ASCII
)
_QUOTED_NAME = re.compile(r'\{\s*"(?P<name>(?:[^"\\]|\\.)*)"\s*(?=[,}])')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

_SHOWN_CHARACTERS = 60


class NotMetricsError(Exception):
    """Say why a text is no exposition."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """One scrape: types by family, values by series as written."""

    types: dict[str, str] = field(default_factory=dict)
    series: dict[str, float] = field(default_factory=dict)


def parse(text: str) -> Exposition:
    """Return what a scrape says; raises NotMetricsError at the first line that says nothing."""
    found = Exposition()
    for line in _LINE.finditer(text):
        match line.lastgroup:
            case "value":
                try:
                    found.series[line["series"]] = float(line["value"])
                except ValueError:
                    raise _not_metrics(text, line) from None
            case "type":
                found.types[line["family"].strip('"')] = line["type"]
            case "bad":
                raise _not_metrics(text, line)
    return found


def name_of(series: str) -> str:
    """Return a series' name."""
    name, brace, _ = series.partition("{")
    if name or not brace:
        return name.strip()
    quoted = _QUOTED_NAME.match(series)
    return _unescaped(quoted["name"]) if quoted else ""


def labels_of(series: str) -> dict[str, str]:
    """Return a series' labels."""
    _, _, labels = series.partition("{")
    return {match["key"].strip('"'): _unescaped(match["value"]) for match in _LABEL.finditer(labels)}


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), text) if "\\" in text else text


def _not_metrics(text: str, line: re.Match[str]) -> NotMetricsError:
    number = text.count("\n", 0, line.start()) + 1
    shown = line[0].strip()
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}…"
    return NotMetricsError(f"line {number} is no metric: {shown!r}")
