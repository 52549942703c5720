"""Which exposition format a scraper prefers.

Source: RFC 9110, "Accept"; Prometheus documentation, "Content negotiation".
"""

from email.message import Message

# What the official client can write. A text without a version is the oldest.
_VERSIONS = {
    "application/openmetrics-text": ("", "0.0.1", "1.0.0"),
    "text/plain": ("", "0.0.4", "1.0.0"),
    "text/*": ("",),
    "*/*": ("",),
}


def preferred(accept: str) -> str:
    """Return the entry of an Accept header with the highest q that can be served, empty for the default.

    The default is the text format 0.0.4. Of equals the first wins.
    """
    best, best_quality = "", 0.0
    for entry in accept.split(","):
        media = Message()
        media["content-type"] = entry.strip()
        kind = entry.partition(";")[0].strip().lower()
        if str(media.get_param("version", "")) not in _VERSIONS.get(kind, ()):
            continue
        try:
            quality = float(str(media.get_param("q", "1")))
        except ValueError:
            continue
        if quality > best_quality:
            best, best_quality = entry.strip(), quality
    return "" if best.startswith(("text/*", "*/*")) else best
