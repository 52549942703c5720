"""Exemplars: which measurements are sampled, and the bounded pool of slots in the segment that keeps them."""

import logging
import random
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    TraceBasedExemplarFilter,
)
from opentelemetry.util.types import AnyValue

from telemetry.sdk import clock
from telemetry.sdk.codec import decode_attributes, encode_attributes
from telemetry.sdk.layout import (
    EXEMPLAR,
    EXEMPLAR_ATTRIBUTES,
    EXEMPLAR_SIZE,
    WORD,
    ChunkKind,
    InvalidSegmentError,
)
from telemetry.sdk.merged import ExemplarValue
from telemetry.sdk.segment import Chunk
from telemetry.sdk.worker import Worker

_logger = logging.getLogger(__name__)

POOL_SLOTS = 1024
_EXPONENTIAL_SLOTS = 20


def _current_context_getter() -> Callable[[], Context]:
    # The public function costs three calls; the variable itself, one.
    runtime = getattr(context_api, "_RUNTIME_CONTEXT", None)
    if type(runtime) is ContextVarsRuntimeContext:
        return cast("Callable[[], Context]", runtime._current_context.get)  # noqa: SLF001
    return context_api.get_current


current_context = _current_context_getter()


@runtime_checkable
class ContextualFilter(Protocol):
    """An exemplar filter that also names what of the Context an exemplar should carry."""

    def exemplar_attributes(self, context: Context) -> Mapping[str, AnyValue]:
        """Return attributes for the exemplar, which are not the measurement's."""


class Sampler:
    """The exemplar filter of a provider, and the pool that sampled measurements go to.

    `is_on` and `needs_context` let a hot path find out without a call that nothing is to be done:
    with the filters that look at the Context only, an empty one never samples.
    """

    def __init__(self, exemplar_filter: ExemplarFilter, pool: "ExemplarPool") -> None:
        self._filter = exemplar_filter
        self._pool = pool
        self.is_on = not isinstance(exemplar_filter, AlwaysOffExemplarFilter)
        self.needs_context = isinstance(exemplar_filter, TraceBasedExemplarFilter | ContextualFilter)
        self._always = type(exemplar_filter) is AlwaysOnExemplarFilter

    def wants(self, amount: float, attributes: Mapping[str, AnyValue] | None, context: Context) -> bool:
        """Tell whether a measurement is to be sampled; a filter that raises samples nothing."""
        try:
            return self._always or self._filter.should_sample(amount, clock.time_ns(), attributes, context)
        except Exception:
            _logger.exception("metrics: the exemplar filter failed")
            return False

    def keep(
        self,
        series: int,
        bucket: int,
        amount: float,
        filtered: Mapping[str, AnyValue],
        context: Context,
    ) -> None:
        """Keep a measurement as its bucket's exemplar; a bucket below -1 stands for one of several places."""
        span = trace.get_current_span(context).get_span_context()
        if isinstance(self._filter, ContextualFilter):
            filtered = {**filtered, **self._filter.exemplar_attributes(context)}
        self._pool.put(series, bucket, amount, span.trace_id, span.span_id, filtered)


def place_of(bucket: int | None) -> int:
    """Return the place of an exemplar: its bucket, or one at random of an exponential histogram's twenty."""
    return -2 - random.randrange(_EXPONENTIAL_SLOTS) if bucket is None else bucket  # noqa: S311 - sampling


class ExemplarPool:
    """Slots of the segment, made when first needed; the one that was written longest ago is used again."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._epoch = -1
        self._slots: OrderedDict[tuple[int, int], tuple[Chunk, int]] = OrderedDict()
        self._free: list[tuple[Chunk, int]] = []

    def put(  # noqa: PLR0917 - the fields of an exemplar
        self,
        series: int,
        bucket: int,
        value: float,
        trace_id: int,
        span_id: int,
        filtered: Mapping[str, AnyValue],
        measured: int | None = None,
    ) -> None:
        """Write an exemplar, in place of an earlier one of the same series and bucket.

        `measured` is when, in Unix nanoseconds, if not now.
        """
        registration = self._worker.registration
        if registration.is_mine:
            return
        text = _fitting(filtered)
        body = EXEMPLAR.pack(
            0,
            series,
            bucket,
            value,
            clock.time_ns() if measured is None else measured,
            trace_id.to_bytes(16, "big"),
            span_id.to_bytes(8, "big"),
            len(text),
        )[WORD.size :]
        payload = body + text
        with registration.held():
            if self._worker.is_closed:
                return  # a slot would be of a new segment
            try:
                chunk, index = self._slot((series, bucket))
                chunk.ints[index] = 0
                chunk.write(index * 8 + WORD.size, payload)
                chunk.ints[index] = zlib.crc32(payload) | 1 << 32
            except (OSError, ValueError):
                return  # no space, or shut down: an exemplar may be missing

    def _slot(self, key: tuple[int, int]) -> tuple[Chunk, int]:
        if self._epoch != self._worker.epoch:
            self._slots.clear()
            self._free.clear()
            self._epoch = self._worker.epoch
        slot = self._slots.pop(key, None)
        if slot is None:
            slot = self._new_slot()
        self._slots[key] = slot
        return slot

    def _new_slot(self) -> tuple[Chunk, int]:
        if len(self._slots) >= POOL_SLOTS:
            return self._slots.popitem(last=False)[1]
        return self._worker.require_segment().allocate(ChunkKind.EXEMPLARS, EXEMPLAR_SIZE // 8)


def read_exemplar(slot: bytes) -> tuple[int, ExemplarValue] | None:
    """Return the series' number and the exemplar that a slot holds.

    None where it is empty or being written.
    """
    word, series, bucket, value, time, trace_id, span_id, length = EXEMPLAR.unpack_from(slot)
    end = EXEMPLAR.size + length
    if word >> 32 != 1 or end > len(slot) or zlib.crc32(slot[WORD.size : end]) != word & 0xFFFFFFFF:
        return None
    try:
        attributes = decode_attributes(slot[EXEMPLAR.size : end])
    except InvalidSegmentError:
        return None
    return series, ExemplarValue(
        value,
        time,
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        attributes,
        max(bucket, -1),
    )


def _fitting(attributes: Mapping[str, Any]) -> bytes:
    """Return the text of as many of the attributes as fit into a slot."""
    kept = dict(attributes)
    while len(text := encode_attributes(kept)) > EXEMPLAR_ATTRIBUTES:
        kept.popitem()
    return text
