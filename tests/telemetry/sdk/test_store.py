"""The series of a stream: which attribute sets are one, which are not, and what the memory of them costs."""

import enum
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.view import View

from telemetry.sdk import store
from tests.telemetry.sdk.support_metrics import key, merged, provider_in, scraped


class Colour(enum.StrEnum):
    """An enumeration of texts."""

    RED = "red"


class Number(enum.IntEnum):
    """An enumeration of ints."""

    ONE = 1


class Text(str):
    """A text of another class."""

    __slots__ = ()


def counted(directory: Path, *sets: Any, views: list[View] | None = None) -> dict[Any, Any]:
    """Return the series of a counter that was incremented with each attribute set by each path."""
    with provider_in(directory, views or []) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        for _ in range(2):
            for attributes in sets:
                counter.add(1, attributes)
        for attributes in sets:
            counter.bind(attributes).add(1)
        return scraped(provider).get("c", {})


def test_true_one_and_one_point_zero_are_three_series(tmp_path: Path) -> None:
    """Values that Python holds for equal and that are of different types have series of their own."""
    values: list[Any] = [True, 1, 1.0, "1", "True", None, "None", False, 0, 0.0, b"1"]
    found = counted(tmp_path, *({"k": value} for value in values))
    assert found == {key(k=value): 3 for value in values}


@pytest.mark.parametrize(("one", "other"), [((1,), (True,)), ((0.0, "a"), (0, "a"))], ids=["true", "float"])
def test_sequences_of_equal_values_are_different_series(tmp_path: Path, one: Any, other: Any) -> None:
    """Sequences whose values are equal and of different types have series of their own."""
    assert counted(tmp_path, {"k": one}, {"k": other}) == {key(k=one): 3, key(k=other): 3}


def test_a_text_in_two_spellings_is_counted_once(tmp_path: Path) -> None:
    """A character spelled as two surrogates, which JSON cannot tell from it, is that character's series."""
    assert counted(tmp_path, {"k": "\ud83d\ude00"}, {"k": "\U0001f600"}) == {key(k="\U0001f600"): 6}


def test_an_enumeration_of_texts_is_its_text(tmp_path: Path) -> None:
    """Members of a StrEnum and other kinds of str are the text that they equal, in any order."""
    assert counted(tmp_path / "a", {"k": Colour.RED}, {"k": "red"}, {"k": Text("red")}) == {key(k="red"): 9}
    assert counted(tmp_path / "b", {"k": "red"}, {"k": Text("red")}, {"k": Colour.RED}) == {key(k="red"): 9}


def test_an_enumeration_of_ints_is_its_int(tmp_path: Path) -> None:
    """A member of an IntEnum is the int that it equals."""
    assert counted(tmp_path, {"k": Number.ONE}, {"k": 1}) == {key(k=1): 6}


def test_order_of_attributes_does_not_matter(tmp_path: Path) -> None:
    """The same attributes in another order are the same series, with and without values that are no texts."""
    sets: list[Any] = [{"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": 1, "b": "2"}, {"b": "2", "a": 1}]
    assert counted(tmp_path, *sets) == {key(a="1", b="2"): 6, key(a=1, b="2"): 6}


def test_keys_and_values_are_not_mixed_up(tmp_path: Path) -> None:
    """Sets whose keys and values in a row are alike are different series."""
    sets = [{"a": "b", "c": "d"}, {"a": "c", "b": "d"}, {"a": "b"}, {"b": "a"}]
    assert counted(tmp_path, *sets) == {key(each): 3 for each in sets}


def test_no_attributes(tmp_path: Path) -> None:
    """None, an empty mapping and attributes that are all invalid are the one series without attributes."""
    assert counted(tmp_path, None, {}, {"": "x"}) == {(): 9}


def test_values_that_cannot_be_keys(tmp_path: Path) -> None:
    """Lists, mappings and what is nested have their series, each time the same."""
    sets: list[Any] = [{"k": [1, "a"]}, {"k": {"x": [1]}}, {"k": [{"y": b"\xff"}, None]}]
    found = counted(tmp_path, *sets, {"k": (1, "a")})
    assert found == {
        key(k=(1, "a")): 6,
        key(k={"x": (1,)}): 3,
        key(k=({"y": b"\xff"}, None)): 3,
    }


@pytest.mark.parametrize("value", ['"\\\n\r\0', "\ud800", "ключ 键", "\U0001f600", "x" * 1_000_000, ""])
def test_any_text_is_a_value(tmp_path: Path, value: str) -> None:
    """Quotes, line ends, NUL, lone surrogates and a text of a million characters are kept as they are."""
    assert counted(tmp_path, {"k": value, value or "e": "v"}) == {key({"k": value, value or "e": "v"}): 3}


def test_what_is_nested_too_deeply_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A value of more levels than any reader takes is dropped and logged, and the other series go on."""
    value: Any = "x"
    for _ in range(40):
        value = [value]
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")
        counter.add(1, {"k": value})
        counter.add(1, {"k": "v"})
        assert scraped(provider) == {"c": {key(k="v"): 1}}
    assert "could not be recorded" in caplog.text


def test_a_view_keeps_some_attributes(tmp_path: Path) -> None:
    """Attributes that a View does not keep are dropped, and what becomes equal is added up."""
    views = [View(instrument_name="c", attribute_keys={"a", "absent"})]
    sets = [{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"b": "3"}, {"a": 1, "b": [2]}]
    assert counted(tmp_path, *sets, views=views) == {key(a="1"): 6, (): 3, key(a=1): 3}


def test_aliases_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped attributes of ever new values cost no ever growing memory, and every count is there."""
    monkeypatch.setattr(store, "_MOST_ALIASES", 10)
    views = [View(instrument_name="c", attribute_keys={"a"})]
    with provider_in(tmp_path, views) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        for number in range(200):
            counter.add(1, {"a": str(number % 3), "request": str(number)})
        (only,) = provider._stores.values()
        assert len(only.cells) <= 3 + 10
        assert scraped(provider)["c"] == {key(a="0"): 67, key(a="1"): 67, key(a="2"): 66}


def test_what_overflows_is_added_up_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sets beyond the limit are one series, those before go on, and one line of the log says so."""
    views = [View(instrument_name="c", aggregation_cardinality_limit=2)]
    sets = [{"k": str(number)} for number in range(5)]
    assert counted(tmp_path, *sets, views=views) == {
        key(k="0"): 3,
        key(k="1"): 3,
        key({"otel.metric.overflow": True}): 9,
    }
    assert caplog.text.count("reached its limit of 2") == 1


def test_threads_lose_nothing(tmp_path: Path) -> None:
    """Threads that make and increment the same series at once are all counted."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")

        def count() -> None:
            for number in range(2000):
                counter.add(1, {"k": str(number % 40)})

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert scraped(provider)["c"] == {key(k=str(number)): 200 for number in range(40)}


def test_a_signal_handler_may_record(tmp_path: Path) -> None:
    """A handler that records new series while its thread makes one neither hangs nor is lost."""
    calls = 0
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")

        def handler(*_: object) -> None:
            nonlocal calls
            calls += 1
            counter.add(1, {"signal": str(calls)})
            if calls < 100:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)

        before = signal.signal(signal.SIGVTALRM, handler)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)
        try:
            number = 0
            while calls < 100:
                counter.add(1, {"k": str(number)})
                number += 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        found = scraped(provider)["c"]
    assert sum(found.values()) == number + 100


def test_after_shutdown_nothing_is_recorded(tmp_path: Path) -> None:
    """A counter, bound or not, whose provider was shut down does nothing, and raises nothing."""
    with provider_in(tmp_path) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        bound = counter.bind({"k": "v"})
        bound.add(1)
    counter.add(1, {"k": "v"})
    bound.add(1)
    counter.add(1, {"k": "new"})
    assert merged(tmp_path)["c"] == {key(k="v"): 1}
