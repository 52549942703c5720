"""What a delta reader was given last, kept in the run's directory for its next leader."""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from telemetry.sdk.columns import Stream
from telemetry.sdk.exponential import difference
from telemetry.sdk.locks import FileLock
from telemetry.sdk.merged import ExponentialValue, HistogramValue, Value

_logger = logging.getLogger(__name__)

_VERSION = 1


class DeltaBase:
    """The cumulative values at a reader's last collection.

    `load` before a collection, `store` before its points are handed over: a leader that dies in between loses
    one interval, and none is counted twice. The caller holds `lock`, an empty file's, in between: where every
    worker has a reader that collects when it is asked, they share what there is.
    """

    def __init__(self, directory: Path, reader: int) -> None:
        self.lock = FileLock(directory / f"delta-{reader}.lock")
        self._path = directory / f"delta-{reader}"
        self._is_lost = False
        self._collected = 0
        self._values: dict[str, dict[str, list[Any]]] = {}
        self._next: dict[str, dict[str, list[Any]]] = {}

    def load(self) -> None:
        """Read what was kept last, by whichever worker; a file that cannot be read counts as kept now."""
        try:
            content = json.loads(self._path.read_bytes())
            if content["version"] != _VERSION:
                raise ValueError("it is of another version")
            self._collected, self._values = content["collected"], content["values"]
        except FileNotFoundError:
            return  # the first collection: everything is new
        except (ValueError, TypeError, KeyError) as problem:
            _logger.warning("metrics: %s cannot be read, one interval is lost: %s", self._path, problem)
            self._is_lost = True
        # What an observable reported before it paused goes on to count.
        self._next = {stream: dict(series) for stream, series in self._values.items()}

    def store(self, now: int) -> None:
        """Keep what was collected at a time in Unix nanoseconds."""
        content = json.dumps({"version": _VERSION, "collected": now, "values": self._next})
        hidden = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            hidden.write_text(content)
            hidden.replace(self._path)
        except BaseException:
            with suppress(OSError):
                hidden.unlink()
            raise

    def is_new(self, time: int) -> bool:
        """Whether a time is after the last collection."""
        return time > self._collected

    def since_last(self, stream: Stream, ordinal: int, current: Value, now: int) -> tuple[Value, int] | None:
        """Return what was added to a series since the last collection and when that was; None for nothing."""
        stream_key = stream.text.decode("ascii")
        series_key = stream.series_text(ordinal).decode("ascii")
        is_observable = stream.definition.kind.is_observable
        # A series that was made during the merge starts after `now`, where the next delta's interval begins.
        start = min(stream.merged.starts[ordinal], now)
        if not is_observable and stream_key in self._values:
            start = self._collected
        kept = self._values.get(stream_key, {}).get(series_key)
        value: Value | None = None if self._is_lost else _without_extremes(current)
        if kept is not None:
            if is_observable:
                start = kept[0]
            value = _difference(current, kept[1], keep_zero=is_observable)
        self._next.setdefault(stream_key, {})[series_key] = [now, current]
        return None if value is None else (value, start)


def _difference(current: Value, kept: Any, *, keep_zero: bool) -> Value | None:
    if isinstance(current, HistogramValue):
        count, total, _, _, buckets = kept
        added = [now - before for now, before in zip(current.buckets, buckets, strict=True)]
        if current.count == count:
            return None
        if min(added) < 0:
            return _without_extremes(current)
        return HistogramValue(current.count - count, current.sum - total, None, None, added)
    if isinstance(current, ExponentialValue):
        changed = difference(current, ExponentialValue(*kept))
        return changed if changed.count else None
    value = current - kept
    return value if value or keep_zero else None


def _without_extremes(value: Value) -> Value:
    if isinstance(value, HistogramValue | ExponentialValue):
        return value._replace(minimum=None, maximum=None)
    return value
