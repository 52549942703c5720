"""Where the series of a stream lie in each file, by the stream's own numbering of its series."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from telemetry.sdk.codec import decode_attributes
from telemetry.sdk.definition import StreamDefinition
from telemetry.sdk.layout import ChunkKind
from telemetry.sdk.merged import ExemplarValue, MergedStream, SeriesAttributes

if TYPE_CHECKING:
    from telemetry.sdk.sources import Source

_MOST_EXEMPLARS_OUTSIDE_BUCKETS = 20
_NEVER = (1 << 63) - 1


class AttributeSets(Sequence[SeriesAttributes]):
    """The attribute sets of a stream, kept as texts: a dictionary of each would be most of the memory."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []

    def append(self, text: bytes) -> None:
        """Append a set that decodes."""
        self._texts.append(text)

    def text(self, index: int) -> bytes:
        """Return a set's text."""
        return self._texts[index]

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> SeriesAttributes: ...
    @overload
    def __getitem__(self, index: slice) -> list[SeriesAttributes]: ...
    def __getitem__(self, index: int | slice) -> SeriesAttributes | list[SeriesAttributes]:
        if isinstance(index, slice):
            return [decode_attributes(text) for text in self._texts[index]]
        return decode_attributes(self._texts[index])


class Positions:
    """The numbers of cells by series, -1 where there is none.

    A run of consecutive ones is kept as its start.
    """

    def __init__(self) -> None:
        self._first = 0
        self._count = 0
        self._array: array[int] | None = None

    def __bool__(self) -> bool:
        return bool(self._count) or self._array is not None

    def put(self, ordinal: int, position: int) -> None:
        """Set the position of a series."""
        if self._array is None:
            if ordinal == self._count and (not ordinal or position == self._first + ordinal):
                self._first = self._first if ordinal else position
                self._count += 1
                return
            self._array = array("q", range(self._first, self._first + self._count))
        missing = ordinal + 1 - len(self._array)
        if missing > 0:
            self._array.extend([-1] * missing)
        self._array[ordinal] = position

    def at(self, ordinal: int) -> int:
        """Return the position of a series."""
        if self._array is None:
            return self._first + ordinal if ordinal < self._count else -1
        return self._array[ordinal] if ordinal < len(self._array) else -1

    def values(self, cells: Any, start: int, end: int) -> list[float]:
        """Return the cells of a range of series, 0 for those that have none."""
        if self._array is None:
            first = self._first
            found = (
                cells[first + start : first + min(end, self._count)].tolist() if start < self._count else []
            )
        else:
            found = [cells[at] if at >= 0 else 0 for at in self._array[start:end]]
        return found + [0] * (end - start - len(found))

    def mark(self, present: bytearray) -> None:
        """Set a 1 for every series that has a position."""
        if self._array is None:
            present[: self._count] = b"\x01" * self._count
        else:
            for ordinal, position in enumerate(self._array):
                if position >= 0:
                    present[ordinal] = 1


class Column:
    """The series of one stream in one file.

    `observed` is the cell with the time of the last callbacks, or -1.
    """

    def __init__(self, stream: "Stream", source: "Source", observed: int) -> None:
        self.stream = stream
        self.source = source
        self.observed = observed
        self.starts: list[tuple[int, int]] = []
        self._ints = Positions()
        self._floats = Positions()
        self._records = Positions()

    @property
    def counts(self) -> bool:
        """Whether what the file's worker measured is part of the merged value."""
        return self.source.is_alive or self.stream.definition.outlives_worker

    @property
    def has_ints(self) -> bool:
        """Whether there are cells for ints."""
        return bool(self._ints)

    @property
    def has_floats(self) -> bool:
        """Whether there are cells for floats."""
        return bool(self._floats)

    def put(self, kind: ChunkKind, ordinal: int, position: int, start: int) -> None:
        """Set the place of a series and when it started."""
        if kind is ChunkKind.INTS:
            self._ints.put(ordinal, position)
        elif kind is ChunkKind.FLOATS:
            self._floats.put(ordinal, position)
        else:
            self._records.put(ordinal, position)
        self.stream.started(ordinal, start)

    def int_slice(self, start: int, end: int) -> list[float]:
        """Return the ints of a range of series."""
        return self._ints.values(self.source.ints, start, end)

    def float_slice(self, start: int, end: int) -> list[float]:
        """Return the floats of a range of series."""
        return self._floats.values(self.source.floats, start, end)

    def record_at(self, ordinal: int) -> int:
        """Return the number of the first cell of a series, or -1."""
        return self._records.at(ordinal)

    def mark(self, present: bytearray, floats: bytearray) -> None:
        """Mark the series that are here, and those that have a cell for floats."""
        self._ints.mark(present)
        self._floats.mark(present)
        self._floats.mark(floats)


class Stream:
    """A stream of the merge.

    Its series in the order in which they were first seen, and where each file has them.
    """

    def __init__(self, definition: StreamDefinition, text: bytes, name: str, number: int) -> None:
        self.definition = definition
        self.text = text
        self.number = number
        self.columns: list[Column] = []
        self.present = bytearray()
        self.floats = bytearray()
        self.has_floats = False
        self.all_present = True
        self.set_at: list[int] = []
        self.is_reported = False
        self._attributes = AttributeSets()
        self._ordinals: dict[bytes, int] = {}
        self._starts = array("q")
        self._liveness: list[bool] = []
        self._is_stale = True
        self.merged = MergedStream(
            scope=definition.scope,
            name=name,
            description=definition.description,
            unit=definition.unit,
            kind=definition.aggregation.kind,
            is_monotonic=definition.is_monotonic,
            bounds=definition.aggregation.bounds,
            attributes=self._attributes,
            starts=self._starts,
        )

    @property
    def is_live(self) -> bool:
        """Whether a worker that lives has the stream."""
        return any(column.source.is_alive for column in self.columns)

    def add(self, column: Column) -> Column:
        """Take a column in."""
        self.columns.append(column)
        self._is_stale = True
        return column

    def remove(self, column: Column) -> None:
        """Let a column go, whose file is gone."""
        self.columns.remove(column)
        self._is_stale = True

    def series_text(self, ordinal: int) -> bytes:
        """Return the text of a series' attribute set."""
        return self._attributes.text(ordinal)

    def ordinal(self, text: bytes) -> int:
        """Return the number of a series; raises InvalidSegmentError for what is no attribute set."""
        ordinal = self._ordinals.get(text)
        if ordinal is None:
            decode_attributes(text)
            ordinal = self._ordinals[text] = len(self._attributes)
            self._attributes.append(text)
            self._starts.append(_NEVER)
        return ordinal

    def started(self, ordinal: int, start: int) -> None:
        """Note when a series started in some file; the earliest counts."""
        self._is_stale = True
        self._starts[ordinal] = min(self._starts[ordinal], start)

    def refresh(self) -> None:
        """Work out again which series are there, if files, series or who lives have changed."""
        liveness = [column.counts for column in self.columns]
        if not self._is_stale and liveness == self._liveness:
            return
        self._is_stale = False
        self._liveness = liveness
        self.present = bytearray(len(self._attributes))
        self.floats = bytearray(len(self._attributes))
        for column in self.columns:
            if column.counts:
                column.mark(self.present, self.floats)
        self.all_present = all(self.present)
        self.has_floats = any(self.floats)

    def offer_exemplar(self, ordinal: int, exemplar: ExemplarValue) -> None:
        """Keep an exemplar if it is the latest of its bucket."""
        kept = self.merged.exemplars.setdefault(ordinal, [])
        if exemplar.bucket < 0:
            kept.append(exemplar)
            kept.sort(key=lambda each: each.time_unix_nano)
            del kept[:-_MOST_EXEMPLARS_OUTSIDE_BUCKETS]
            return
        at = bisect_left(kept, exemplar.bucket, key=lambda each: each.bucket)
        if at == len(kept) or kept[at].bucket != exemplar.bucket:
            kept.insert(at, exemplar)
        elif kept[at].time_unix_nano < exemplar.time_unix_nano:
            kept[at] = exemplar
