"""Streams' definitions as canonical text."""

import json
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.definition import AggregationSpec, InstrumentKind, StreamDefinition
from telemetry.sdk.layout import ChunkKind, InvalidSegmentError
from telemetry.sdk.merged import DataKind

PLAIN = StreamDefinition(
    scope=InstrumentationScope("scope", "1", "https://schema", {"a": (1, True), "b": b"x"}),
    instrument="requests",
    kind=InstrumentKind.COUNTER,
    unit="By",
    name="requests",
    description='quotes ", line\nends, \ud800',
    aggregation=AggregationSpec(DataKind.SUM),
)
HISTOGRAM = replace(
    PLAIN,
    kind=InstrumentKind.HISTOGRAM,
    aggregation=AggregationSpec(DataKind.HISTOGRAM, (-1.0, 0.1, 1e300), record_min_max=False),
    view=3,
    keys=("a", "b"),
    aggregation_from_view=True,
    limit=7,
    limit_from_view=True,
    per_worker=True,
)
EXPONENTIAL = replace(
    PLAIN,
    kind=InstrumentKind.UP_DOWN_COUNTER,
    aggregation=AggregationSpec(DataKind.EXPONENTIAL_HISTOGRAM, max_size=160, max_scale=20),
)


def changed(definition: StreamDefinition, **fields: Any) -> bytes:
    """Return a definition's text with fields of another value, in canonical spelling."""
    content = {**json.loads(definition.to_text()), **fields}
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii")


@pytest.mark.parametrize(
    "definition", [PLAIN, HISTOGRAM, EXPONENTIAL], ids=lambda each: each.aggregation.kind
)
def test_what_is_written_is_read(definition: StreamDefinition) -> None:
    """A definition comes back from its text, which is the same for equal ones."""
    read = StreamDefinition.from_text(definition.to_text())
    assert read == definition
    assert read.scope.attributes == definition.scope.attributes
    assert read.to_text() == definition.to_text()


def test_any_difference_is_another_stream() -> None:
    """Definitions that differ in any field have different texts."""
    others = [
        replace(
            PLAIN, scope=InstrumentationScope("scope", "2", "https://schema", {"a": (1, True), "b": b"x"})
        ),
        replace(PLAIN, scope=InstrumentationScope("scope", "1", "https://schema", {"a": (1, 1), "b": b"x"})),
        replace(PLAIN, instrument="x"),
        replace(PLAIN, kind=InstrumentKind.UP_DOWN_COUNTER),
        replace(PLAIN, unit="s"),
        replace(PLAIN, name="x"),
        replace(PLAIN, description="x"),
        replace(PLAIN, view=0),
        replace(PLAIN, keys=()),
        replace(PLAIN, limit=1),
        replace(PLAIN, limit_from_view=True),
        replace(PLAIN, per_worker=True),
        HISTOGRAM,
        EXPONENTIAL,
    ]
    assert len({each.to_text() for each in (PLAIN, *others)}) == 1 + len(others)


def test_whatever_type_a_caller_gave_reads_back() -> None:
    """Versions, units and limits of a wrong type do not make a segment unreadable."""
    odd: Any = {"unit": 1, "name": 2, "description": None, "limit": True}
    definition = replace(PLAIN, scope=InstrumentationScope(3, 4), **odd)  # type: ignore[arg-type]
    read = StreamDefinition.from_text(definition.to_text())
    assert (read.scope.name, read.scope.version, read.unit, read.name, read.limit) == ("3", "4", "1", "2", 1)


def aggregated(definition: StreamDefinition, **fields: Any) -> bytes:
    """Return a definition's text with another aggregation, in canonical spelling."""
    names = [each.name for each in dataclass_fields(AggregationSpec)]
    given = json.loads(definition.to_text())["aggregation"]
    return changed(definition, aggregation=[*{**dict(zip(names, given, strict=True)), **fields}.values()])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        PLAIN.to_text() + b" ",
        PLAIN.to_text().replace(b":", b": ", 1),
        PLAIN.to_text()[:-1] + b',"more":1}',
        changed(PLAIN, scope=["a", "b", "c"]),
        changed(PLAIN, scope=[1, None, "", "[]"]),
        changed(PLAIN, scope=["a", [], "", "[]"]),
        changed(PLAIN, scope=["a", None, None, "[]"]),
        changed(PLAIN, scope=["a", None, "", "{}"]),
        changed(PLAIN, scope=["a", None, "", []]),
        changed(PLAIN, kind="timer"),
        changed(PLAIN, kind=[]),
        changed(PLAIN, unit=None),
        changed(PLAIN, view=[]),
        changed(PLAIN, view=1.5),
        changed(PLAIN, keys=[1]),
        changed(PLAIN, keys=1),
        changed(PLAIN, limit=float("inf")),
        changed(PLAIN, limit=float("nan")),
        changed(PLAIN, limit="2000"),
        changed(PLAIN, per_worker=1),
        changed(PLAIN, aggregation=["sum", [], True, 0]),
        aggregated(PLAIN, kind="drop"),
        aggregated(PLAIN, kind=[]),
        aggregated(PLAIN, max_size=1),
        aggregated(HISTOGRAM, bounds=[1, 2]),
        aggregated(HISTOGRAM, bounds=[2.0, 1.0]),
        aggregated(HISTOGRAM, bounds=[1.0, 1.0]),
        aggregated(HISTOGRAM, bounds=[1.0, float("inf")]),
        aggregated(HISTOGRAM, bounds=[float("nan")]),
        aggregated(HISTOGRAM, bounds=[10**400]),
        aggregated(HISTOGRAM, record_min_max=1),
        aggregated(EXPONENTIAL, max_size=1),
        aggregated(EXPONENTIAL, max_size=16_385),
        aggregated(EXPONENTIAL, max_size=1 << 62),
        aggregated(EXPONENTIAL, max_size=float("inf")),
        aggregated(EXPONENTIAL, max_scale=21),
        aggregated(EXPONENTIAL, max_scale=-11),
    ],
)
def test_what_no_writer_writes_is_refused(text: bytes) -> None:
    """A text that is not canonical, or asks for what cannot be, is an error of the format."""
    with pytest.raises(InvalidSegmentError):
        StreamDefinition.from_text(text)


def test_what_a_writer_writes_is_not_refused() -> None:
    """The smallest and the largest aggregations are read: what is refused above is refused for a reason."""
    for text in (
        aggregated(PLAIN),
        aggregated(HISTOGRAM, bounds=[1.0, 2.0]),
        aggregated(HISTOGRAM, bounds=[]),
        aggregated(EXPONENTIAL, max_size=2, max_scale=-10),
        aggregated(EXPONENTIAL, max_size=16_384),
    ):
        assert StreamDefinition.from_text(text).to_text() == text


def test_cells_are_in_the_right_kind_of_chunk() -> None:
    """Sums lie in chunks of numbers, everything else in chunks of records; observed sums too."""
    observed = replace(PLAIN, kind=InstrumentKind.OBSERVABLE_COUNTER)
    cells = {
        (definition, kind): definition.cells_in(kind)
        for definition, kinds in (
            (PLAIN, (ChunkKind.INTS, ChunkKind.FLOATS)),
            (observed, (ChunkKind.RECORDS,)),
            (HISTOGRAM, (ChunkKind.RECORDS,)),
            (EXPONENTIAL, (ChunkKind.RECORDS,)),
        )
        for kind in kinds
    }
    assert list(cells.values()) == [1, 1, 7, 4 + 4, 1 + 2 * (8 + 2 * 160)]
    for definition, kind in (
        (PLAIN, ChunkKind.RECORDS),
        (HISTOGRAM, ChunkKind.INTS),
        (observed, ChunkKind.FLOATS),
        (PLAIN, ChunkKind.CATALOGUE),
    ):
        with pytest.raises(InvalidSegmentError, match="wrong kind"):
            definition.cells_in(kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (InstrumentKind.COUNTER, (True, True)),
        (InstrumentKind.OBSERVABLE_COUNTER, (True, True)),
        (InstrumentKind.UP_DOWN_COUNTER, (False, False)),
        (InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER, (False, False)),
        (InstrumentKind.GAUGE, (False, True)),
        (InstrumentKind.OBSERVABLE_GAUGE, (False, False)),
    ],
)
def test_what_outlives_a_worker(kind: InstrumentKind, expected: tuple[bool, bool]) -> None:
    """Counters never fall, and with gauges that were set they outlive their worker; the others do not."""
    definition = replace(PLAIN, kind=kind)
    assert (definition.is_monotonic, definition.outlives_worker) == expected


def test_a_histogram_outlives_its_worker() -> None:
    """A distribution outlives its worker, whichever instrument measured it."""
    assert replace(HISTOGRAM, kind=InstrumentKind.UP_DOWN_COUNTER).outlives_worker


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"unit": "s"}, True),
        ({"kind": InstrumentKind.UP_DOWN_COUNTER}, True),
        ({"name": "REQUESTS", "unit": "s"}, True),
        ({"aggregation": HISTOGRAM.aggregation}, True),
        ({}, False),
        ({"name": "another"}, False),
        ({"instrument": "another"}, False),
        ({"view": 1}, False),
        ({"description": "another"}, False),
        ({"limit": 3}, False),
    ],
)
def test_which_stream_succeeds_another(change: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 (a parameter)
    """A stream is succeeded by one of the same metric with another kind, unit or aggregation."""
    assert PLAIN.is_succeeded_by(replace(PLAIN, **change)) is expected
