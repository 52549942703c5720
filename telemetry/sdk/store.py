"""The series of one stream in this process: found by attribute set, made at their first measurement."""

import logging
import threading
from bisect import bisect_left
from collections.abc import Mapping
from functools import partial
from typing import Any

from opentelemetry.context import Context
from opentelemetry.util.types import AnyValue

from telemetry.sdk import clock
from telemetry.sdk.admission import digest
from telemetry.sdk.attribute_sets import OVERFLOW, OVERFLOW_TEXT, alias, canonical, cleaned
from telemetry.sdk.cells import ExponentialSeries, GaugeSeries, HistogramSeries, NumberCell
from telemetry.sdk.codec import encode_attributes
from telemetry.sdk.definition import StreamDefinition
from telemetry.sdk.exemplars import Sampler, place_of
from telemetry.sdk.layout import ChunkKind, SeriesRecord, StreamRecord
from telemetry.sdk.merged import DataKind
from telemetry.sdk.reservoirs import Reservoirs
from telemetry.sdk.run import DirectoryRefusedError
from telemetry.sdk.segment import Chunk
from telemetry.sdk.worker import Worker

_logger = logging.getLogger(__name__)

_MOST_ALIASES = 4096
_INT64 = 1 << 63

Cell = NumberCell | GaugeSeries | HistogramSeries | ExponentialSeries


class Store:
    """The series of one stream.

    `cells` also holds aliases: keys in another order, or with dropped attributes.
    """

    def __init__(
        self, definition: StreamDefinition, name: str, worker: Worker, reservoirs: Reservoirs | None = None
    ) -> None:
        self.definition = definition
        self.reservoirs = reservoirs
        self.lock = threading.Lock()
        self.cells: dict[Any, Cell] = {}
        self.overflowed_sets = 0
        self._name = name
        self._worker = worker
        self._aliases: list[Any] = []
        self._text = definition.to_text()
        self._digest = digest(self._text)
        self._epoch = -1
        self._stream = 0
        self.observed_at: tuple[Chunk, int] | None = None

    def forget(self) -> None:
        """Give up every cell, in a forked child."""
        # The same object: hot paths hold on to it. Another thread may have held it when the process forked.
        self.lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library does
        self.cells.clear()
        self._aliases.clear()

    def kept(self, attributes: Mapping[str, AnyValue] | None) -> dict[str, AnyValue]:
        """Return the attributes that identify the series: cleaned, and those only that the View keeps."""
        kept = cleaned(attributes)
        if (keys := self.definition.keys) is not None:
            kept = {key: value for key, value in kept.items() if key in keys}
        if self.definition.per_worker:
            kept["worker"] = self._worker.slot
        return kept

    def cell(self, attributes: Mapping[str, AnyValue] | None) -> Cell | None:
        """Return the cell of an attribute set, made if need be; None where there is no space for it.

        The caller holds the registration.
        """
        self._enter_segment()
        key, text = canonical(self.kept(attributes))
        cell = self.cells.get(key)
        if cell is None:
            if not self._worker.admissions.admit(self._digest, digest(text), self.definition.limit):
                return self._overflow_cell(attributes)
            cell = self._make(text)
            self.cells[key] = cell
        self._remember(attributes, cell)
        return cell

    def write(self, cell: Cell, amount: float, attributes: Mapping[str, AnyValue] | None) -> None:
        """Aggregate an amount that was checked. Raises ValueError if the segment was closed meanwhile."""
        definition = self.definition
        if isinstance(cell, NumberCell):
            self._add(cell, amount, attributes)
            return
        bucket = bisect_left(definition.aggregation.bounds, amount)
        extremes = definition.aggregation.record_min_max
        if isinstance(cell, HistogramSeries):
            cell.observe(self.lock, amount, bucket, extremes=extremes)
            return
        now = clock.time_ns()
        # These have no hot path: who writes them holds the registration, a signal handler included.
        with self.lock:
            if isinstance(cell, GaugeSeries):
                cell.set(amount, now)
            else:
                cell.observe(amount, extremes=extremes)

    def record(self, amount: float, attributes: Mapping[str, AnyValue] | None) -> Cell | None:
        """Find or make the series of an attribute set, aggregate an amount, and return the cell.

        The attributes stay as they are: in a signal handler this may be done later. Logs once and drops what
        has no space.
        """
        registration = self._worker.registration
        if registration.is_mine:
            registration.defer(partial(self.record, amount, attributes))
            return None
        with registration.held():
            if self._worker.is_closed:
                return None
            try:
                cell = self.cell(attributes)
                if cell is not None:
                    self.write(cell, amount, attributes)
            except (OSError, DirectoryRefusedError) as problem:
                self._worker.drop(self.definition.name, problem)
                return None
        return cell

    def bind(self, attributes: Mapping[str, AnyValue] | None) -> Cell | None:
        """Return the cell of an attribute set, made if need be, without recording.

        None where there is none, as before anything was measured in this process: what only binds has no
        segment. None too in a signal handler that cannot have it now.
        """
        if self._worker.segment is None or self._worker.registration.is_mine:
            return None
        with self._worker.registration.held():
            if self._worker.is_closed:
                return None
            try:
                return self.cell(attributes)
            except (OSError, DirectoryRefusedError) as problem:
                self._worker.drop(self.definition.name, problem)
                return None

    def sample(
        self,
        sampler: Sampler,
        cell: Cell,
        amount: float,
        attributes: Mapping[str, AnyValue] | None,
        context: Context,
    ) -> None:
        """Keep a measurement of a cell as an exemplar, with those of its attributes that the series lacks."""
        if self.reservoirs is not None:
            kept = OVERFLOW if cell is self.cells.get(OVERFLOW_TEXT) else self.kept(attributes)
            self.reservoirs.offer(cell, amount, attributes, kept, context)
            return
        aggregation = self.definition.aggregation
        bucket: int | None = -1
        if aggregation.kind is DataKind.HISTOGRAM:
            bucket = bisect_left(aggregation.bounds, amount)
        elif aggregation.kind is DataKind.EXPONENTIAL_HISTOGRAM:
            bucket = None
        filtered: Mapping[str, AnyValue] = {}
        if attributes and (self.definition.keys is not None or cell is self.cells.get(OVERFLOW_TEXT)):
            kept = {} if cell is self.cells.get(OVERFLOW_TEXT) else self.kept(attributes)
            filtered = {key: value for key, value in cleaned(attributes).items() if key not in kept}
        sampler.keep(cell.series, place_of(bucket), amount, filtered, context)

    def _add(self, cell: NumberCell, amount: float, attributes: Mapping[str, AnyValue] | None) -> None:
        if isinstance(amount, int) and -_INT64 <= amount < _INT64:
            if cell.ints is None:
                chunk, cell.int_index = self._allocate_number(ChunkKind.INTS, attributes, cell)
                cell.ints = chunk.ints
            with self.lock:
                total = cell.ints[cell.int_index] + amount
                if -_INT64 <= total < _INT64:
                    cell.ints[cell.int_index] = total
                    return
        if cell.floats is None:
            chunk, cell.float_index = self._allocate_number(ChunkKind.FLOATS, attributes, cell)
            cell.floats = chunk.floats
        with self.lock:
            cell.floats[cell.float_index] += amount

    def _allocate_number(
        self, kind: ChunkKind, attributes: Mapping[str, AnyValue] | None, cell: NumberCell
    ) -> tuple[Chunk, int]:
        is_overflow = cell is self.cells.get(OVERFLOW_TEXT)
        text = OVERFLOW_TEXT if is_overflow else encode_attributes(self.kept(attributes))
        chunk, index = self._worker.require_segment().allocate(kind, 1)
        cell.series = self._announce(kind, chunk, index, text)
        return chunk, index

    def _announce(self, kind: ChunkKind, chunk: Chunk, index: int, text: bytes) -> int:
        """Write the record of a series whose cells are ready: readers believe in them from here on."""
        record = SeriesRecord(self._stream, kind, chunk.offset + index * 8, clock.time_ns(), text)
        return self._worker.append_series(record)

    def _make(self, text: bytes) -> Cell:
        definition = self.definition
        if definition.is_number:
            return NumberCell()
        segment = self._worker.require_segment()
        chunk, index = segment.allocate(ChunkKind.RECORDS, definition.record_cells)
        aggregation = definition.aggregation
        cell: Cell
        if aggregation.kind is DataKind.HISTOGRAM:
            cell = HistogramSeries(chunk, index)
        elif aggregation.kind is DataKind.EXPONENTIAL_HISTOGRAM:
            cell = ExponentialSeries(
                chunk,
                index,
                aggregation.max_size,
                aggregation.max_scale,
                copy_cells=definition.exponential_copy_cells,
            )
        else:
            cell = GaugeSeries(chunk, index)
        cell.series = self._announce(ChunkKind.RECORDS, chunk, index, text)
        return cell

    def _enter_segment(self) -> None:
        """Write the stream's record, once in each segment."""
        segment = self._worker.require_segment()
        if self._epoch == self._worker.epoch:
            return
        self.cells.clear()
        self._aliases.clear()
        observed_at = 0
        if self.definition.kind.is_observable:
            chunk, index = segment.allocate(ChunkKind.RECORDS, 1)
            self.observed_at = chunk, index
            observed_at = chunk.offset + index * 8
        self._stream = self._worker.append_stream(
            StreamRecord(self._text, self._name.encode("utf-8", "replace"), observed_at)
        )
        self._epoch = self._worker.epoch

    def _overflow_cell(self, attributes: Mapping[str, AnyValue] | None) -> Cell:
        cell = self.cells.get(OVERFLOW_TEXT)
        if cell is None:
            cell = self.cells[OVERFLOW_TEXT] = self._make(OVERFLOW_TEXT)
        self.overflowed_sets += 1
        if self.overflowed_sets == 1:
            _logger.warning(
                "metrics: %s has reached its limit of %d attribute sets; further ones are added up in one "
                "series with otel.metric.overflow=true",
                self.definition.name,
                self.definition.limit,
            )
        self._remember(attributes, cell)
        return cell

    def _remember(self, attributes: Mapping[str, AnyValue] | None, cell: Cell) -> None:
        """Let an attribute set be found again as it was given."""
        key = alias(attributes)
        if key is None or key in self.cells:
            return
        if len(self._aliases) >= _MOST_ALIASES:
            for each in self._aliases:
                self.cells.pop(each, None)
            self._aliases.clear()
        self.cells[key] = cell
        self._aliases.append(key)
