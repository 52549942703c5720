"""Random programs of the Meter API as plain data: what to create, what to record, when to collect."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

SYNCHRONOUS = ("counter", "up_down_counter", "histogram", "gauge")
OBSERVABLE = ("observable_counter", "observable_up_down_counter", "observable_gauge")
KINDS = SYNCHRONOUS + OBSERVABLE

Attributes = dict[str, Any] | None
Number = int | float
# An aggregation's name and its arguments.
AggregationSpec = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Scope:
    """An instrumentation scope."""

    name: str
    version: str | None
    schema_url: str | None
    attributes: Attributes


@dataclass(frozen=True)
class Callback:
    """What an observable's callback reports at its n-th instant, and whether it raises after that."""

    is_generator: bool
    raises: bool
    reports: tuple[tuple[tuple[Number, Attributes], ...], ...]


@dataclass(frozen=True)
class Instrument:
    """One creation of an instrument; several may name the same one, or contradict each other."""

    scope: Scope
    kind: str
    name: str
    unit: str
    description: str
    bounds: Any
    callbacks: tuple[Callback, ...]


@dataclass(frozen=True)
class ViewSpec:
    """The arguments of an official View, its types and aggregation by name."""

    kind: str | None
    aggregation: AggregationSpec | None
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ReaderSpec:
    """The arguments of an in-memory reader, by kind of instrument."""

    delta_kinds: frozenset[str]
    aggregations: dict[str, AggregationSpec]
    limits: dict[str, int]


@dataclass(frozen=True)
class Record:
    """One call of add, record or set on the n-th instrument, which is created first where it was not."""

    instrument: int
    value: Number
    attributes: Attributes


@dataclass(frozen=True)
class Collect:
    """One collection by the n-th reader."""

    reader: int


@dataclass(frozen=True)
class Program:
    """Everything that both SDKs are put through."""

    instruments: tuple[Instrument, ...]
    views: tuple[ViewSpec, ...]
    readers: tuple[ReaderSpec, ...]
    exemplar_filter: str
    steps: tuple[Record | Collect, ...]

    @property
    def has_shared_observables(self) -> bool:
        """Whether several readers collect an observable instrument."""
        return len(self.readers) > 1 and any(each.kind in OBSERVABLE for each in self.instruments)


# Sums of multiples of 1/64 below 2^40 are exact in any order.
numbers: SearchStrategy[Number] = st.one_of(
    # Those on the bounds of buckets twice as often.
    st.sampled_from([0, 1, 1.0, 5, 10.0, 2.5, 0.5, 100, 1000]),
    st.sampled_from([0, 1, 1.0, 5, 10.0, 2.5, 0.0, -3, -0.25, 1000]),
    st.integers(-(2**30), 2**30),
    st.integers(-(2**40), 2**40).map(lambda numerator: numerator / 64),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)

_attribute_values = st.one_of(
    st.sampled_from([True, 1, 1.0, "1", False, 0, None, b"1", "", "a", 'q"\\\n\0', "\ud800", 2**40]),
    st.sampled_from([[], ["a", "b"], ("a", "b"), [1, True, 1.0], {"k": 1}, {"k": [None, {"l": b""}]}]),
)
attributes: SearchStrategy[Attributes] = st.one_of(
    st.sampled_from([None, {}, {"a": "x"}, {"a": "y"}, {"a": "x", "b": 1}]),
    st.dictionaries(st.sampled_from(["a", "b", "B", "", "k.l", "\udfff"]), _attribute_values, max_size=3),
)

_scopes = st.builds(
    Scope,
    st.sampled_from(["lib", "other"]),
    st.sampled_from([None, "1.0"]),
    st.sampled_from([None, "https://example.org/schema"]),
    st.sampled_from([None, None, {"team": "a"}]),
)
_bounds = st.sampled_from([None, None, [], [0], [1, 2.5, 10], (0.5, 100), ["x"], 7])
_callbacks = st.builds(
    Callback,
    st.booleans(),
    st.sampled_from([False, False, False, True]),
    st.lists(
        st.lists(st.tuples(numbers, attributes), max_size=3, unique_by=repr).map(tuple),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
_names = ["requests", "Requests", "queue.size", "latency"]
_aggregations: SearchStrategy[AggregationSpec] = st.one_of(
    st.sampled_from([("default", ()), ("drop", ()), ("sum", ()), ("last_value", ())]),
    st.tuples(
        st.just("explicit"),
        st.tuples(st.sampled_from([None, (), (0, 5, 10), (-1.5, 0, 1e3)]), st.booleans()),
    ),
    st.tuples(
        st.just("exponential"),
        st.tuples(st.sampled_from([2, 4, 20, 160]), st.sampled_from([20, 5, 0, -3]), st.booleans()),
    ),
)


@st.composite
def _instruments(draw: DrawFn, kinds: tuple[str, ...]) -> Instrument:
    kind = draw(st.sampled_from(kinds))
    return Instrument(
        draw(_scopes),
        kind,
        draw(st.sampled_from(_names)),
        draw(st.sampled_from(["", "s", "S"])),
        draw(st.sampled_from(["", "what it is"])),
        draw(_bounds) if kind == "histogram" else None,
        tuple(draw(st.lists(_callbacks, max_size=2))) if kind in OBSERVABLE else (),
    )


@st.composite
def _views(draw: DrawFn, *, limited: bool) -> ViewSpec:
    pattern = draw(st.sampled_from([None, "*", "re?uest*", "Requests", "queue.size", "latency", "none"]))
    chosen: dict[str, Any] = {
        "instrument_name": pattern,
        "instrument_unit": draw(st.sampled_from([None, None, "s", "S"])),
        "meter_name": draw(st.sampled_from([None, None, "lib"])),
        "meter_version": draw(st.sampled_from([None, None, "1.0"])),
        "meter_schema_url": draw(st.sampled_from([None, None, "https://example.org/schema"])),
        "description": draw(st.sampled_from([None, None, "as viewed"])),
        "attribute_keys": draw(st.sampled_from([None, None, set(), {"a"}, {"a", "b", ""}])),
    }
    if pattern is None or not set("*?") & set(pattern):
        chosen["name"] = draw(st.sampled_from([None, "viewed", "Requests"]))
    if limited:
        chosen["aggregation_cardinality_limit"] = draw(st.sampled_from([None, 1, 2]))
    kind = draw(st.sampled_from([None, *KINDS]))
    if kind is None and all(
        chosen[criterion] is None
        for criterion in (
            "instrument_name",
            "instrument_unit",
            "meter_name",
            "meter_version",
            "meter_schema_url",
        )
    ):
        kind = "counter"
    return ViewSpec(
        kind,
        draw(st.none() | _aggregations),
        {name: value for name, value in chosen.items() if value is not None},
    )


@st.composite
def _readers(draw: DrawFn, *, limited: bool) -> ReaderSpec:
    kinds = st.sampled_from(KINDS)
    # One for all kinds, or few instruments would meet any but the default.
    common = draw(st.none() | _aggregations)
    aggregations = {} if common is None else dict.fromkeys(KINDS, common)
    return ReaderSpec(
        # Exception "cardinality_of_delta": what is limited is compared cumulatively.
        draw(st.frozensets(kinds)) if not limited else frozenset(),
        aggregations | draw(st.dictionaries(kinds, _aggregations, max_size=2)),
        draw(st.dictionaries(kinds, st.sampled_from([1, 2, 3]), max_size=3)) if limited else {},
    )


@st.composite
def programs(draw: DrawFn) -> Program:
    """Draw a program: at most 5 creations, 3 views, 2 readers, 15 rounds of calls."""
    limited = draw(st.booleans())
    readers = tuple(draw(st.lists(_readers(limited=limited), min_size=1, max_size=2)))
    # Exception "cardinality_of_observables": one reader where these are limited.
    kinds = SYNCHRONOUS if limited and len(readers) > 1 else KINDS
    instruments = tuple(draw(st.lists(_instruments(kinds), min_size=1, max_size=5)))
    # Several values in a row, as most of what a series does only shows from its second value on.
    records = st.builds(
        lambda instrument, values, attributes: [Record(instrument, value, attributes) for value in values],
        st.integers(0, len(instruments) - 1),
        st.lists(numbers, min_size=1, max_size=5),
        attributes,
    )
    collects = st.builds(lambda reader: [Collect(reader)], st.integers(0, len(readers) - 1))
    rounds: list[list[Record | Collect]] = draw(st.lists(st.one_of(records, records, collects), max_size=15))
    return Program(
        instruments,
        tuple(draw(st.lists(_views(limited=limited), max_size=3))),
        readers,
        draw(st.sampled_from(["always_on", "always_off", "trace_based"])),
        (*chain.from_iterable(rounds), *(Collect(reader) for reader in range(len(readers)))),
    )
