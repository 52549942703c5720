"""Names that collide: what is left out, what is kept, what is added up, and what is logged."""

import logging

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.merged import DataKind, ExemplarValue, MergedStream, SeriesAttributes
from tests.telemetry.exposition.sources import (
    OPENMETRICS,
    TEXT,
    Families,
    histogram,
    merged,
    parsed,
    renderer,
    samples,
    stream,
    text_of,
)

OTHER = InstrumentationScope("other")


def shown(*streams: MergedStream) -> Families:
    """Return the families of a scrape, which the strict parser has accepted."""
    return samples(parsed(text_of(merged(*streams))))


def series(families: Families, name: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return a family's samples."""
    return families[name][3]


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return a sample's key."""
    return name, frozenset(labels.items())


def test_one_family_of_several_scopes(caplog: pytest.LogCaptureFixture) -> None:
    """Items 28, 31: streams of one name are one family with the first's HELP, and that is logged once."""
    streams = (
        stream("requests", [({"k": "a"}, 1)], description="first"),
        stream("between", [({}, 1)], kind=DataKind.GAUGE),
        stream("requests", [({"k": "b"}, 2)], description="second", scope=OTHER),
        stream("requests", [({"k": "c"}, 3)], scope=InstrumentationScope("third")),
    )
    each = renderer()
    with caplog.at_level(logging.WARNING):
        texts = [b"".join(each.render(merged(*streams))).decode() for _ in range(3)]
    assert 1 == texts[0].count("# HELP requests first") == texts[0].count("# HELP")
    assert {
        of("requests_total", k="a"): 1.0,
        of("requests_total", k="b"): 2.0,
        of("requests_total", k="c"): 3.0,
    } == (series(samples(parsed(texts[2])), "requests"))
    assert caplog.messages == ["the metric requests has more than one description: the first is shown"]


def test_a_conflict_of_types(caplog: pytest.LogCaptureFixture) -> None:
    """Item 28: of two types under one name the later is left out and that is logged once; the rest stays."""
    streams = (
        stream("level", [({}, 1)], kind=DataKind.GAUGE),
        stream("level", [({}, histogram([1], 1.0))], kind=DataKind.HISTOGRAM, scope=OTHER),
        stream("after", [({}, 5)], kind=DataKind.GAUGE),
    )
    each = renderer(TEXT)
    with caplog.at_level(logging.WARNING):
        texts = [b"".join(each.render(merged(*streams))).decode() for _ in range(3)]
    assert {f.name: f.type for f in parsed(texts[2], TEXT)} == {"level": "gauge", "after": "gauge"}
    assert caplog.messages == ["the metric level is left out: another of its name has another type"]


def test_a_conflict_of_units(caplog: pytest.LogCaptureFixture) -> None:
    """Item 28: of two units under one name the first is stated and all points stay."""
    with caplog.at_level(logging.WARNING):
        found = shown(
            stream("io_seconds", [({"k": "a"}, 1)], unit="s"),
            stream("io", [({"k": "b"}, 2)], unit="s", scope=OTHER),
            stream("io_seconds_By", [({"k": "c"}, 3)], unit="By", scope=OTHER),
        )
    assert list(found) == ["io_seconds", "io_seconds_By_bytes"]
    assert found["io_seconds"][2] == "seconds"
    assert len(series(found, "io_seconds")) == 2


HISTOGRAM, GAUGE, SUM = DataKind.HISTOGRAM, DataKind.GAUGE, DataKind.SUM


@pytest.mark.parametrize(
    ("first", "second", "in_text", "in_openmetrics"),
    [
        (("h", HISTOGRAM), ("h_count", GAUGE), ["h"], ["h"]),
        (("h_sum", GAUGE), ("h", HISTOGRAM), ["h_sum"], ["h_sum"]),
        (("h_bucket", GAUGE), ("h", HISTOGRAM), ["h_bucket"], ["h_bucket"]),
        (("target.info", GAUGE), ("x", GAUGE), ["x"], ["x"]),
        (("x.total", GAUGE), ("x", SUM), ["x_total"], ["x_total"]),
        # Only OpenMetrics gives a counter these names.
        (("x.created", GAUGE), ("x", SUM), ["x_created", "x"], ["x_created"]),
        (("x", GAUGE), ("x", SUM), ["x", "x"], ["x"]),
    ],
)
def test_sample_names_of_another_family(
    first: tuple[str, DataKind],
    second: tuple[str, DataKind],
    in_text: list[str],
    in_openmetrics: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A metric whose name is that of another's samples is left out and logged; the rest can be parsed."""
    streams = []
    for name, kind in (first, second):
        value = histogram([1, 1], 2.0) if kind is HISTOGRAM else 1
        streams.append(stream(name, [({}, value)], kind=kind, bounds=(1.0,)))
    for exposition, target, expected in (
        (TEXT, "target_info", in_text),
        (OPENMETRICS, "target", in_openmetrics),
    ):
        caplog.clear()
        text = text_of(merged(*streams, resource=Resource({"a": "b"})), exposition)
        assert [target, *expected] == [family.name for family in parsed(text, exposition)]
        assert 2 - len(expected) == len(caplog.messages)


def test_a_stream_without_series_takes_no_name() -> None:
    """An instrument that was never used does not hide another of its name, and is not shown."""
    found = shown(
        stream("level", [], kind=DataKind.HISTOGRAM, bounds=(1.0,)),
        stream("level", [({}, 1)], kind=DataKind.GAUGE),
    )
    assert {"level": ("gauge", "", "", {of("level"): 1.0})} == found


def test_series_that_look_alike_are_added() -> None:
    """Item 29: sums and histograms whose labels become equal are one series, across scopes as well."""
    alike: list[SeriesAttributes] = [{"a.b": 1}, {"a_b": "1"}, {"a_b": "1", "c": ""}]
    found = shown(
        stream("requests", [(attributes, 1) for attributes in alike]),
        stream("requests", [(alike[0], 10), ({"a.b": 2}, 100)], scope=OTHER),
        stream("level", [(attributes, 1) for attributes in alike], monotonic=False),
        stream(
            "h",
            [(attributes, histogram([1, 2], 4.0)) for attributes in alike],
            kind=DataKind.HISTOGRAM,
            bounds=(1.0,),
        ),
        stream("temperature", list(zip(alike, (20, 21, 22), strict=True)), kind=DataKind.GAUGE),
    )
    assert {of("requests_total", a_b="1"): 13.0, of("requests_total", a_b="2"): 100.0} == series(
        found, "requests"
    )
    assert {of("level", a_b="1"): 3.0} == series(found, "level")
    assert {of("temperature", a_b="1"): 22.0} == series(found, "temperature")
    assert {
        of("h_bucket", a_b="1", le="1.0"): 3.0,
        of("h_bucket", a_b="1", le="inf"): 9.0,
        of("h_count", a_b="1"): 9.0,
        of("h_sum", a_b="1"): 12.0,
    } == series(found, "h")


def test_series_that_look_alike_come_and_go() -> None:
    """Where the first has nothing to report, or series are added later, the sum is that of the others."""
    counter = stream("requests", [({"a.b": 1}, None), ({"a_b": "1"}, 2)])
    each = renderer()
    assert {of("requests_total", a_b="1"): 2.0} == series(
        samples(parsed(b"".join(each.render(merged(counter))).decode())), "requests"
    )
    assert isinstance(counter.attributes, list)
    counter.attributes.append({"a-b": "1"})
    counter.starts = [0, 0, 0]
    counter.values = [5, None, 4]
    assert {of("requests_total", a_b="1"): 9.0} == series(
        samples(parsed(b"".join(each.render(merged(counter))).decode())), "requests"
    )
    # What was shown is the scrape's own: the merge may be another's as well.
    assert counter.values == [5, None, 4]


def test_histograms_that_look_alike_with_other_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """They cannot be added: the first stays, and that is logged."""
    with caplog.at_level(logging.WARNING):
        found = shown(
            stream("h", [({}, histogram([1, 2], 4.0))], kind=DataKind.HISTOGRAM, bounds=(1.0,)),
            stream("h", [({}, histogram([7, 7], 4.0))], kind=DataKind.HISTOGRAM, bounds=(2.0,), scope=OTHER),
        )
    assert series(found, "h")[of("h_count")] == 3.0
    assert caplog.messages == ["of series of h that look alike some are left out: their bounds differ"]


def test_scope_labels_keep_scopes_apart() -> None:
    """With scope labels, series of two scopes are two series."""
    text = text_of(
        merged(stream("requests", [({}, 1)]), stream("requests", [({}, 2)], scope=OTHER)), scope_labels=True
    )
    assert 'requests_total{otel_scope_name="tests"} 1\n' in text
    assert 'requests_total{otel_scope_name="other"} 2\n' in text


def test_text_of_vanished_streams_is_dropped() -> None:
    """A family whose stream is gone keeps no text; one that comes back starts anew."""
    each = renderer()
    first, second = stream("a", [({"k": "1"}, 1)]), stream("a", [({"k": "2"}, 2)])
    for streams, expected in (([first], "1"), ([second], "2"), ([], None), ([first], "1")):
        text = b"".join(each.render(merged(*streams))).decode()
        found = [sample.labels["k"] for family in parsed(text) for sample in family.samples]
        assert ([expected] if expected else []) == found
        assert len(streams) == len(each._families._kept)


def test_exemplars_of_series_that_look_alike_are_kept() -> None:
    """The newest exemplar is shown, whichever of the series it was taken on."""
    old, new = (ExemplarValue(value, value * 10**9, 0, 0, {}, -1) for value in (1, 2))
    text = text_of(merged(stream("r", [({"a.b": 1}, 1), ({"a_b": "1"}, 1)], exemplars={0: [old], 1: [new]})))
    assert 'r_total{a_b="1"} 2 # {} 2 2.000000000\n' in text
