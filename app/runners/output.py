"""What a command wrote, kept within a bound: its beginning and its end."""

import codecs
import re

from app.runners.base import OUTPUT_LIMIT_BYTES

# More than the mark of any cut takes: twenty digits and the words around them.
_MARK_BYTES = 64

# Bytes that are not UTF-8 decode to these lone surrogates, one each, so that characters can be counted back
# into bytes.
_INVALID = re.compile("[\udc80-\udcff]")


class OutputCollector:
    """Collect one stream of a command in bounded memory, however much it writes."""

    def __init__(self, limit: int = OUTPUT_LIMIT_BYTES) -> None:
        self._limit = limit
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def feed(self, data: bytes) -> None:
        """Take in what the command wrote next."""
        self._total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Not at every call: moving the tail costs as much as filling it.
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """Return the text in at most `limit` bytes of UTF-8, with a mark that tells how many bytes were cut.

        NUL and every byte that is not UTF-8 become U+FFFD, which takes three bytes: output that is far from
        text is cut sooner.
        """
        if self._total <= self._limit:
            whole = _clean(bytes(self._head + self._tail).decode("utf-8", "surrogateescape"))
            if len(whole.encode()) <= self._limit:
                return whole
        budget = (self._limit - _MARK_BYTES) // 2
        # A character that a cut would split belongs to what is cut.
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        head = decoder.decode(bytes(self._head), final=False)
        head = head[: len(_clean(head).encode()[:budget].decode("utf-8", "ignore"))]
        tail = re.sub(rb"\A[\x80-\xbf]{1,3}", b"", self._tail[-self._half :]).decode(
            "utf-8", "surrogateescape"
        )
        tail = tail[len(tail) - len(_clean(tail).encode()[-budget:].decode("utf-8", "ignore")) :]
        kept = sum(len(part.encode("utf-8", "surrogateescape")) for part in (head, tail))
        return f"{_clean(head)}\n[... {self._total - kept} bytes cut ...]\n{_clean(tail)}"


def _clean(text: str) -> str:
    return _INVALID.sub("\ufffd", text.replace("\0", "\ufffd"))
