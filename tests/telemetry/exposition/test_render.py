"""What a merge looks like as text: values, exemplars, created timestamps, target_info, slices."""

import math
from types import MappingProxyType

import pytest
from opentelemetry.sdk.resources import Resource

from telemetry.exposition.text import number
from telemetry.sdk.merged import DataKind, ExemplarValue, SeriesAttributes, Value
from tests.support.promtool import check_metrics
from tests.support.stack.programs import ProgramUnavailableError
from tests.telemetry.exposition.sources import (
    OPENMETRICS,
    TEXT,
    histogram,
    merged,
    parsed,
    renderer,
    samples,
    stream,
    text_of,
)

TRACE, SPAN = 0xA1, 0xB2
NANO = 1_700_000_000_123_456_789


def exemplar(
    value: float, time: int = NANO, filtered: SeriesAttributes = MappingProxyType({})
) -> ExemplarValue:
    """Return an exemplar of a span."""
    return ExemplarValue(value, time, TRACE, SPAN, filtered, -1)


def test_a_whole_scrape_in_text() -> None:
    """Items 22, 23, 27: comments once, no timestamps, a sum that may fall is a gauge, None is no sample."""
    everything = merged(
        stream("http.requests", [({"k": "a"}, 3), ({"k": "b"}, None), ({}, 0.5)], description="Requests."),
        stream("queue", [({}, -2)], monotonic=False, unit="{job}"),
        stream("temperature", [({}, 20.5)], kind=DataKind.GAUGE, unit="Cel"),
        stream("latency", [({}, histogram([1, 2], 2.5))], kind=DataKind.HISTOGRAM, bounds=(1.0,), unit="s"),
        stream("nothing", [({}, None)], kind=DataKind.GAUGE, description="Nothing."),
        resource=Resource({"service.name": "x"}),
    )
    assert (
        text_of(everything, TEXT)
        == """\
# HELP target_info Target metadata
# TYPE target_info gauge
target_info{service_name="x"} 1
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{k="a"} 3
http_requests_total 0.5
# TYPE queue gauge
queue -2
# TYPE temperature_celsius gauge
temperature_celsius 20.5
# TYPE latency_seconds histogram
latency_seconds_bucket{le="1.0"} 1
latency_seconds_bucket{le="+Inf"} 3
latency_seconds_count 3
latency_seconds_sum 2.5
"""
    )


def test_openmetrics_ends_with_eof() -> None:
    """Item 31: families are not interleaved, units are stated, and the last line is # EOF."""
    text = text_of(merged(stream("latency", [({}, 1)], unit="s"), resource=Resource({"a": "b"})))
    assert (
        text
        == """\
# HELP target Target metadata
# TYPE target info
target_info{a="b"} 1
# TYPE latency_seconds counter
# UNIT latency_seconds seconds
latency_seconds_total 1
# EOF
"""
    )


def test_an_empty_scrape() -> None:
    """Without streams and resource there is nothing to say, which is still a scrape."""
    assert text_of(merged(), TEXT) == ""
    assert text_of(merged()) == "# EOF\n"


@pytest.mark.parametrize("others", [0, 1000])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -0.5, 2**70, 1e308, True])
def test_odd_values(value: float, others: int) -> None:
    """NaN, infinities, negative and huge values are shown as they are, and change no other."""
    plain: list[Value | None] = [1.5 if index % 2 else index for index in range(others)]
    values = [*plain, value]
    everything = merged(
        stream("g", [({"k": str(index)}, v) for index, v in enumerate(values)], kind=DataKind.GAUGE)
    )
    for exposition in (TEXT, OPENMETRICS):
        written = text_of(everything, exposition)
        (family,) = parsed(written, exposition)
        read = [float(sample.value) for sample in family.samples]
        assert repr([float(v) for v in values if isinstance(v, int | float)]) == repr(read)
        # Parsers are lenient about the spelling.
        assert f'g{{k="{others}"}} {number(value)}\n' in written


@pytest.mark.parametrize("value", [math.nan, -1, -0.5])
def test_a_counter_below_zero(value: float, caplog: pytest.LogCaptureFixture) -> None:
    """A counter that a callback made negative is left out of OpenMetrics and logged once; others stay."""
    everything = merged(stream("c", [({"k": "a"}, value), ({"k": "b"}, 1), ({"k": "c"}, value)]))
    assert {("c_total", frozenset({("k", "b")})): 1.0} == samples(parsed(text_of(everything)))["c"][3]
    assert len(parsed(text_of(everything, TEXT), TEXT)[0].samples) == 3
    assert caplog.messages == ["series of c are left out: a counter must be 0 or more"]


def test_exemplars_of_a_counter() -> None:
    """Item 30: the newest exemplar follows _total, trace and span id first, with value and timestamp."""
    everything = merged(
        stream(
            "c",
            [({"k": "a"}, 3), ({"k": "b"}, 4)],
            exemplars={0: [exemplar(2, filtered={"execution": "e1"}), exemplar(1, NANO - 5)]},
        )
    )
    assert (
        f'c_total{{k="a"}} 3 # {{trace_id="{TRACE:032x}",span_id="{SPAN:016x}",execution="e1"}} '
        "2 1700000000.123456789\n" in text_of(everything)
    )
    assert "#" not in text_of(everything, TEXT).split("\n", 1)[1]


def test_exemplars_of_a_histogram() -> None:
    """Item 30: each bucket has the largest exemplar that fell into it, and a bound is in its bucket."""
    everything = merged(
        stream(
            "h",
            [({}, histogram([2, 1, 1], 9.0))],
            kind=DataKind.HISTOGRAM,
            bounds=(1.0, 2.0),
            exemplars={0: [exemplar(0.5), exemplar(1.0), exemplar(5.0)]},
        )
    )
    (family,) = parsed(text_of(everything))
    assert [
        (sample.labels["le"], sample.exemplar.value if sample.exemplar else None)
        for sample in family.samples
        if sample.name == "h_bucket"
    ] == [("1.0", 1.0), ("2.0", None), ("+Inf", 5.0)]
    assert "trace_id" not in text_of(everything, TEXT)


@pytest.mark.parametrize(
    ("filtered", "shown"),
    [
        ({"a": "x" * 64, "b": "y"}, {"a"}),
        ({"a": "x" * 65, "b": "y"}, {"b"}),
        ({"trace_id": "mine", "b": "y"}, {"b"}),
        ({"a": 'with "quotes"', "b": "back\\slash\nline"}, {"b"}),
        ({"": "x", "é.è": "y"}, {"_"}),
    ],
)
def test_attributes_of_exemplars(filtered: dict[str, str], shown: set[str]) -> None:
    """Item 30: filtered attributes are added while the whole is at most 128 characters."""
    everything = merged(stream("c", [({}, 1)], exemplars={0: [exemplar(1, filtered=filtered)]}))
    (family,) = parsed(text_of(everything))
    found = family.samples[0].exemplar
    assert found is not None
    assert {"trace_id", "span_id", *shown} == set(found.labels)
    assert sum(len(key) + len(value) for key, value in found.labels.items()) <= 128
    assert list(found.labels)[:2] == ["trace_id", "span_id"]


def test_an_exemplar_outside_of_a_span() -> None:
    """Without a span there are no ids."""
    outside = ExemplarValue(1, NANO, 0, 0, {"execution": "e1"}, -1)
    assert '# {execution="e1"} 1 1700' in text_of(merged(stream("c", [({}, 1)], exemplars={0: [outside]})))


def test_created_timestamps() -> None:
    """_created follows each series of counters and histograms, in OpenMetrics, where switched on.

    It is a second early: a scrape is stamped before it is answered, and the zero must come before it.
    """
    everything = merged(
        stream("c", [({"k": "a"}, 1), ({"k": "b"}, 2)], start=NANO),
        stream("h", [({"k": "a"}, histogram([1], 1.0))], kind=DataKind.HISTOGRAM, start=NANO),
        stream("g", [({}, 1)], kind=DataKind.GAUGE, start=NANO),
        stream("unknown", [({}, 1)]),
    )
    assert [
        line.removesuffix(" 1699999999.123456789")
        for line in text_of(everything, created_timestamps=True).splitlines()
        if "_created" in line
    ] == ['c_created{k="a"}', 'c_created{k="b"}', 'h_created{k="a"}']
    assert "_created" not in text_of(everything, TEXT, created_timestamps=True)
    assert "_created" not in text_of(everything)


def test_promtool_accepts_the_text() -> None:
    """Prometheus' own check has nothing to say, whatever label values there are."""
    labels: SeriesAttributes = {"a.b": 'x"\\\n\x00\ud800é', "c": True}
    everything = merged(
        stream("requests", [(labels, 3)], description='say "a\\b"\n\x00\ud800'),
        stream(
            "latency",
            [(labels, histogram([1, 2], 2.5))],
            kind=DataKind.HISTOGRAM,
            bounds=(1.0,),
            unit="s",
            description="Latency.",
        ),
        resource=Resource({"service.name": "x\x00"}),
    )
    try:
        assert check_metrics(text_of(everything, TEXT).encode()) == []
    except ProgramUnavailableError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("count", [1, 511, 512, 513, 2000])
def test_a_slice_is_never_long(count: int) -> None:
    """A slice has at most some 1,000 lines, or the text of some 100 new series; nothing is lost."""
    each = renderer(TEXT)
    everything = merged(
        *(stream(f"small{number}", [({}, 1)]) for number in range(count // 10)),
        stream("c", [({"k": str(number)}, number) for number in range(count)]),
        stream(
            "h",
            [({"k": str(number)}, histogram([1, 2], 2.5)) for number in range(count)],
            kind=DataKind.HISTOGRAM,
            bounds=(1.0,),
        ),
    )
    texts = each._families
    known, parts = 0, []
    for part in each.render(everything):
        made = sum(len(text) for family in texts._kept.values() for text in family.texts)
        assert made - known <= 128
        known = made
        parts.append(part)
    assert 5 * count + count // 10 == sum(
        not line.startswith("#") for line in b"".join(parts).decode().splitlines()
    )
    assert max(part.count(b"\n") for part in parts) <= 2000
    again = list(each.render(everything))
    assert b"".join(parts) == b"".join(again)
    assert len(again) <= len(b"".join(again)) // 16384 + 1


def test_two_scrapes_take_turns() -> None:
    """Two renderings that go on slice by slice, over merges of other lengths, both show their own merge."""
    each = renderer(TEXT)
    counter = stream("c", [({"k": str(number % 900)}, 1) for number in range(1000)])
    first = merged(counter)
    early = each.render(first)
    parts = [next(early), next(early)]
    assert isinstance(counter.attributes, list)
    counter.attributes += [{"k": str(number)} for number in range(1000, 1500)]
    later = stream("c", [({}, 2) for _ in range(1500)])
    later.attributes = counter.attributes
    late = each.render(merged(later))
    others = [next(late), next(late), next(late)]
    parts += early
    others += late
    read = [
        {sample.labels["k"]: sample.value for sample in parsed(b"".join(text).decode(), TEXT)[0].samples}
        for text in (parts, others)
    ]
    assert {str(n): 2.0 if n < 100 else 1.0 for n in range(900)} == read[0]
    assert {str(n): 4.0 if n < 100 else 2.0 for n in (*range(900), *range(1000, 1500))} == read[1]
