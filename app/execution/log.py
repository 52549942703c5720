"""The events of one execution while its worker still owes them to the store."""

import asyncio
import json
from collections import deque

from app.execution.events import Event

KEEP_BYTES = 4 * 1024 * 1024


class ExecutionLog:
    """Number an execution's events, and hold their lines until the store has them.

    A line is shown to readers once it has been published: measured first, then stored, then sent. Lines that
    the store has are dropped from memory when they exceed KEEP_BYTES; readers then fetch them from there.
    """

    def __init__(self, execution_id: str) -> None:
        self.execution_id = execution_id
        self.appended = 0
        self.published = 0
        self.committed = 0
        self.complete = False
        self._first = 1
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def append(self, event: Event) -> tuple[int, bytes]:
        """Return the event's sequence number and its NDJSON line without the newline."""
        self.appended += 1
        text = json.dumps(
            {
                "type": event.type,
                "execution_id": self.execution_id,
                "seq": self.appended,
                **event.fields(),
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        line = text.encode("utf-8", errors="replace")
        self._lines.append(line)
        self._bytes += len(line)
        self.complete = event.type == "complete"
        return self.appended, line

    def publish(self, seq: int) -> None:
        """Show readers every event up to `seq`."""
        if seq > self.published:
            self.published = seq
            self._changed.set()
            self._changed = asyncio.Event()

    def commit(self, seq: int) -> None:
        """Note that the store has every event up to `seq`."""
        self.committed = max(self.committed, seq)
        self.publish(seq)
        while self._bytes > KEEP_BYTES and self._first <= self.committed:
            self._bytes -= len(self._lines.popleft())
            self._first += 1

    def after(self, seq: int) -> list[bytes] | None:
        """Return the published lines after `seq`, or None where the store has to be asked for them."""
        if seq + 1 < self._first:
            return None
        start = seq + 1 - self._first
        return [self._lines[index] for index in range(start, self.published + 1 - self._first)]

    @property
    def changed(self) -> asyncio.Event:
        """Return an event that is set at the next publication."""
        return self._changed
