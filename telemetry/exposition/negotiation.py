"""Which exposition format a scraper prefers.

Source: RFC 9110, "Accept" and "Accept-Encoding"; Prometheus documentation, "Content negotiation".
"""

from email.message import Message
from enum import Enum
from typing import NamedTuple

from telemetry.exposition.naming import Escaping


class Format(Enum):
    """The formats that can be served, as media type and version."""

    TEXT_0_0_4 = ("text/plain", "0.0.4")
    TEXT_1_0_0 = ("text/plain", "1.0.0")
    OPENMETRICS_1_0_0 = ("application/openmetrics-text", "1.0.0")


class Exposition(NamedTuple):
    """A format, and the escaping of its names."""

    format: Format
    escaping: Escaping

    @property
    def content_type(self) -> str:
        """Return the Content-Type; the escaping is part of it from version 1.0.0 on."""
        media, version = self.format.value
        stated = f"{media}; version={version}; charset=utf-8"
        return stated if self.format is Format.TEXT_0_0_4 else f"{stated}; escaping={self.escaping}"


DEFAULT = Exposition(Format.TEXT_0_0_4, Escaping.UNDERSCORES)

_SERVED = {
    ("application/openmetrics-text", ""): Format.OPENMETRICS_1_0_0,
    ("application/openmetrics-text", "1.0.0"): Format.OPENMETRICS_1_0_0,
    ("text/plain", ""): Format.TEXT_0_0_4,
    ("text/plain", "0.0.4"): Format.TEXT_0_0_4,
    ("text/plain", "1.0.0"): Format.TEXT_1_0_0,
    ("text/*", ""): Format.TEXT_0_0_4,
    ("*/*", ""): Format.TEXT_0_0_4,
}


def preferred(accept: str, *, utf8_names: bool = False) -> Exposition:
    """Return what the entry of an Accept header with the highest q asks for, among what can be served.

    Of equals the first wins; where nothing can be served, or nothing is asked for, the text format 0.0.4. An
    unknown escaping is taken for underscores, and so is allow-utf-8 without `utf8_names`: Prometheus 3 sends
    it of itself, while queries, rules and the other paths into a store have the names with underscores.
    """
    best, best_quality = DEFAULT, 0.0
    for entry in accept.split(","):
        media, parameters = _parsed(entry)
        served = _SERVED.get((media, parameters.get("version", "")))
        quality = _quality(parameters)
        if served is None or quality <= best_quality:
            continue
        escaping = Escaping.UNDERSCORES
        if served is not Format.TEXT_0_0_4 and parameters.get("escaping") in list(Escaping):
            escaping = Escaping(parameters["escaping"])
        if escaping is Escaping.ALLOW_UTF_8 and not utf8_names:
            escaping = Escaping.UNDERSCORES
        best, best_quality = Exposition(served, escaping), quality
    return best


def gzip_wanted(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header names gzip and does not refuse it by a q of 0."""
    for entry in accept_encoding.split(","):
        coding, parameters = _parsed(entry)
        if coding == "gzip":
            return _quality(parameters) > 0
    return False


def _parsed(entry: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["content-type"] = entry.strip()
    found = message.get_params(failobj=[])
    return entry.partition(";")[0].strip().lower(), {name.lower(): value for name, value in found[1:]}


def _quality(parameters: dict[str, str]) -> float:
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
