"""Exemplars: which measurements are sampled, what is kept of them, and which of them are shown."""

import itertools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, ExemplarFilter
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from telemetry.sdk import MeterProvider, clock, exemplars
from telemetry.sdk.exemplars import read_exemplar
from telemetry.sdk.layout import EXEMPLAR, EXEMPLAR_SIZE, WORD
from telemetry.sdk.merged import ExemplarValue
from tests.telemetry.sdk.support_metrics import drain, provider_in

SPAN = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))),
    Context(),
)


@pytest.fixture(autouse=True)
def _ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clock tell 1, 2, 3 and so on."""
    ticks = itertools.count(1)
    monkeypatch.setattr(clock, "time_ns", lambda: next(ticks))


def shown(provider: MeterProvider) -> dict[str, list[ExemplarValue]]:
    """Return the exemplars of each metric, over all its series."""
    return {
        stream.name: [each for found in stream.exemplars.values() for each in found]
        for stream in drain(provider.merge()).streams
    }


def test_by_default_a_measurement_in_a_sampled_span_is_kept(tmp_path: Path) -> None:
    """With the filter of the specification, measurements in a sampled span become exemplars."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")
        counter.add(1)
        counter.add(2, {"k": "v"}, SPAN)
        counter.add(3)
        (exemplar,) = shown(provider)["c"]
    assert (exemplar.value, exemplar.trace_id, exemplar.span_id, exemplar.bucket) == (2, 0xABC, 0xDEF, -1)
    assert exemplar.filtered_attributes == {}


def test_always_off_keeps_nothing(tmp_path: Path) -> None:
    """A filter that is off keeps nothing, also within a span."""
    with provider_in(tmp_path, exemplar_filter=AlwaysOffExemplarFilter()) as provider:
        provider.get_meter("m").create_counter("c").add(1, None, SPAN)
        assert shown(provider) == {"c": []}


def test_each_bucket_has_the_newest(tmp_path: Path) -> None:
    """A histogram shows for each bucket the exemplar that came last, in the order of the buckets."""
    with provider_in(tmp_path, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
        histogram = provider.get_meter("m").create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2])
        for value in (5, 0.5, 6, 1.5, 0.7):
            histogram.record(value)
        found = [(each.bucket, each.value) for each in shown(provider)["h"]]
    assert found == [(0, 0.7), (1, 1.5), (2, 6)]


def test_the_newest_of_all_workers_is_shown(tmp_path: Path) -> None:
    """Of two workers' exemplars of one bucket the newer one is shown."""
    for value in (1, 2):
        with provider_in(tmp_path, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
            provider.get_meter("m").create_histogram("h").record(value)
            (exemplar,) = shown(provider)["h"]
            assert exemplar.value == value


def test_what_a_view_drops_the_exemplar_keeps(tmp_path: Path) -> None:
    """Attributes that are not the series' are the exemplar's; those of a series that overflowed, too."""
    views = [View(instrument_name="c", attribute_keys={"a"}, aggregation_cardinality_limit=1)]
    with provider_in(tmp_path, views, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
        counter = provider.get_meter("m").create_counter("c")
        counter.add(1, {"a": "1", "b": "2"})
        counter.add(1, {"a": "2", "b": "3"})
        found = {each.filtered_attributes["b"]: each.filtered_attributes for each in shown(provider)["c"]}
    assert found == {"2": {"b": "2"}, "3": {"a": "2", "b": "3"}}


def test_attributes_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    """An exemplar keeps as many of its attributes as its slot has space for."""
    views = [View(instrument_name="c", attribute_keys=set())]
    with provider_in(tmp_path, views, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
        provider.get_meter("m").create_counter("c").add(1, {"a": "1", "b": "x" * 1000})
        (exemplar,) = shown(provider)["c"]
    assert exemplar.filtered_attributes == {"a": "1"}


def test_slots_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more series than there are slots, those written longest ago give theirs up."""
    monkeypatch.setattr(exemplars, "POOL_SLOTS", 10)
    with provider_in(tmp_path, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
        counter = provider.get_meter("m").create_counter("c")
        for number in [*range(50), 3]:
            counter.add(number, {"k": str(number)})
        found = sorted(each.value for each in shown(provider)["c"])
    assert found == [3, *range(41, 50)]


def test_an_exponential_histogram_has_twenty_at_most(tmp_path: Path) -> None:
    """An exponential histogram keeps up to twenty, the newest among them."""
    views = [View(instrument_name="e", aggregation=ExponentialBucketHistogramAggregation())]
    with provider_in(tmp_path, views, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
        histogram = provider.get_meter("m").create_histogram("e")
        for value in range(1, 301):
            histogram.record(value)
        found = shown(provider)["e"]
    assert 10 < len(found) <= 20
    assert found[-1].value == 300


class Contextual(ExemplarFilter):
    """A filter that samples what has an id in its Context, and names it."""

    def should_sample(self, value: Any, time_unix_nano: int, attributes: Any, context: Context) -> bool:
        """Sample where there is an id."""
        return "id" in context

    def exemplar_attributes(self, context: Context) -> Mapping[str, Any]:
        """Return the id."""
        return {"id": context["id"]}


def test_a_filter_may_name_what_the_context_holds(tmp_path: Path) -> None:
    """What a filter reads from the Context is the exemplar's and never the series', with no tracer at all."""
    with provider_in(tmp_path, exemplar_filter=Contextual()) as provider:
        counter = provider.get_meter("m").create_counter("c")
        counter.add(1)
        counter.add(2, None, Context({"id": "x"}))
        (exemplar,) = shown(provider)["c"]
    assert (exemplar.value, exemplar.trace_id, exemplar.filtered_attributes) == (2, 0, {"id": "x"})


class Failing(ExemplarFilter):
    """A filter that fails."""

    def should_sample(self, value: Any, time_unix_nano: int, attributes: Any, context: Context) -> bool:
        """Raise."""
        raise RuntimeError("no")


def test_a_filter_that_raises_samples_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A filter that raises is logged, and the measurement counts."""
    with provider_in(tmp_path, exemplar_filter=Failing()) as provider:
        provider.get_meter("m").create_counter("c").add(1)
        assert shown(provider) == {"c": []}
    assert "exemplar filter failed" in caplog.text


def slot(text: bytes, *, length: int | None = None) -> bytes:
    """Return a slot with attributes, and a word that is right for it."""
    size = len(text) if length is None else length
    data = EXEMPLAR.pack(0, 7, -3, 1.5, 9, b"\1" * 16, b"\2" * 8, size) + text
    return (WORD.pack(zlib.crc32(data[WORD.size :]) | 1 << 32) + data[WORD.size :]).ljust(
        EXEMPLAR_SIZE, b"\0"
    )


def test_what_a_slot_holds_is_read() -> None:
    """A slot is read as the series' number and the exemplar."""
    found = read_exemplar(slot(b'[["k","v"]]'))
    ids = int.from_bytes(b"\1" * 16, "big"), int.from_bytes(b"\2" * 8, "big")
    assert found == (7, ExemplarValue(1.5, 9, *ids, {"k": "v"}, -1))


@pytest.mark.parametrize(
    "data",
    [
        bytes(EXEMPLAR_SIZE),
        b"\0" * WORD.size + slot(b"[]")[WORD.size :],
        slot(b"{}"),
        slot(b"[]", length=1 << 60),
        slot(b"[]", length=EXEMPLAR_SIZE - EXEMPLAR.size + 1),
        slot(b"[]").replace(b"[]", b"[ "),
    ],
)
def test_a_slot_that_is_being_written_or_broken_holds_nothing(data: bytes) -> None:
    """A slot that is empty, half written, too long or no text at all is no exemplar, and no error."""
    assert read_exemplar(data) is None
