"""Files to break: a small segment with every kind of chunk, and a healthy one beside it."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from telemetry.sdk.layout import (
    CHUNK,
    COMMITTED_AT,
    EXEMPLAR,
    EXEMPLAR_SIZE,
    HEADER_SIZE,
    STATIC_SIZE,
    SUFFIX,
    WORD,
    ChunkKind,
    FileKind,
    Header,
    align,
    record_word,
)
from telemetry.sdk.merge import Merger
from tests.telemetry.sdk.support_metrics import drain, provider_in, values

BROKEN_ID = bytes(range(16))
HEALTHY = {"healthy": {(("a", "b"),): 7}}
_ID_AT = 16


def sample(directory: Path) -> bytes:
    """Return the bytes of a segment with a series of each kind, whose id is BROKEN_ID."""
    views = [View(instrument_name="exp", aggregation=ExponentialBucketHistogramAggregation(max_size=4))]
    with provider_in(directory, views, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
        meter = provider.get_meter("broken")
        for amount in (1, 1.5):
            meter.create_counter("sum").add(amount, {"k": "v"})
            meter.create_histogram("exp").record(amount * 3)
            meter.create_gauge("gauge").set(amount)
            meter.create_histogram("hist", explicit_bucket_boundaries_advisory=[1, 2]).record(amount)
        meter.create_observable_gauge("seen", [lambda _: []])
        provider.observe()
    return with_id((directory / _only_segment(directory)).read_bytes(), BROKEN_ID)


def add_healthy(directory: Path) -> None:
    """Write a segment that nothing is wrong with, of which HEALTHY is to be read."""
    with provider_in(directory) as provider:
        provider.get_meter("healthy").create_counter("healthy").add(7, {"a": "b"})


def broken_path(directory: Path) -> Path:
    """Return where a segment with the id of the sample belongs."""
    return directory / f"{BROKEN_ID.hex()}{SUFFIX}"


def with_id(data: bytes, identity: bytes) -> bytes:
    """Return a file with another id in its header."""
    return with_checksums(data[:_ID_AT] + identity + data[_ID_AT + 16 :])


def read_all(directory: Path) -> tuple[dict[str, Any], int]:
    """Merge a directory afresh, twice over; return the values and how many files were skipped."""
    merger = Merger(directory)
    try:
        first = values(drain(merger.merge()))
        # What was refused at first stays so, and what was read goes on being read.
        assert repr(values(drain(merger.merge()))) == repr(first)
        return first, merger.sources.skipped
    finally:
        merger.close()


def with_checksums(data: bytes) -> bytes:
    """Return a file with checksums that are right for what it says: the checks behind them are reached."""
    result = bytearray(data)
    if len(result) >= STATIC_SIZE:
        static = STATIC_SIZE - 8
        result[static : static + 4] = zlib.crc32(result[:static]).to_bytes(4, "little")
    for kind, start, end in chunks(data):
        if kind == ChunkKind.CATALOGUE:
            _mend_records(result, start, end)
        elif kind == ChunkKind.EXEMPLARS:
            _mend_exemplars(result, start, end)
    return bytes(result)


def chunks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the kind of each chunk, and where its payload begins and ends, as far as they make sense."""
    at = HEADER_SIZE
    while at + CHUNK.size <= len(data):
        _, kind, size = CHUNK.unpack_from(data, at)
        if not CHUNK.size <= size <= len(data) - at:
            return
        yield kind, at + CHUNK.size, at + size
        at += size


def header(**changes: Any) -> bytes:
    """Return the header page of an empty segment with the id of the sample."""
    page = bytearray(HEADER_SIZE)
    packed = Header(**{"kind": FileKind.SEGMENT, "id": BROKEN_ID, **changes}).pack()
    page[: len(packed)] = packed
    page[COMMITTED_AT : COMMITTED_AT + 8] = HEADER_SIZE.to_bytes(8, "little")
    return bytes(page)


def _mend_records(data: bytearray, at: int, end: int) -> None:
    while at + WORD.size < end:
        length = int.from_bytes(data[at : at + 4], "little")
        payload = bytes(data[at + WORD.size : at + WORD.size + length])
        if not length or at + WORD.size + length > end:
            return
        data[at : at + WORD.size] = WORD.pack(record_word(payload))
        at += WORD.size + align(length)


def _mend_exemplars(data: bytearray, start: int, end: int) -> None:
    for at in range(start, end - EXEMPLAR_SIZE + 1, EXEMPLAR_SIZE):
        length = int.from_bytes(data[at + EXEMPLAR.size - 8 : at + EXEMPLAR.size], "little")
        payload = bytes(data[at + WORD.size : at + EXEMPLAR.size + min(length, EXEMPLAR_SIZE)])
        if any(payload):
            data[at : at + WORD.size] = WORD.pack(zlib.crc32(payload) | 1 << 32)


def _only_segment(directory: Path) -> str:
    (path,) = directory.glob(f"*{SUFFIX}")
    return path.name
