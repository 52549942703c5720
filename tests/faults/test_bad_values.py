"""Attributes, amounts and names that nobody should use: nothing raises, sums are right, the scrape parses."""

import decimal
import enum
import fractions
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from telemetry.exposition import exposition
from telemetry.sdk import MeterProvider
from tests.telemetry.sdk.support_metrics import key, provider_in, scraped


class Text(str):
    """A text of another class, which shows another text than it is."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"


class Colour(enum.StrEnum):
    """An enumeration of texts."""

    RED = "red"


class Number:
    """A number as numpy has them: no subclass of anything."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __float__(self) -> float:
        return self._value


class Rude:
    """A number, and an attribute's value, whose every method raises."""

    def __float__(self) -> float:
        raise RuntimeError("rude")

    def __lt__(self, _: object) -> bool:
        raise RuntimeError("rude")

    __le__ = __gt__ = __ge__ = __eq__ = __lt__

    def __hash__(self) -> int:
        raise RuntimeError("rude")

    def __repr__(self) -> str:
        raise RuntimeError("rude")

    def __bool__(self) -> bool:
        raise RuntimeError("rude")


class Broken(Mapping[str, Any]):
    """A mapping that raises when it is gone through for the n-th time."""

    def __init__(self, fine: int) -> None:
        self._left = fine

    def __getitem__(self, name: str) -> Any:
        return {"k": "v"}[name]

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("broken")
        return iter(["k"])


class Shifting(Mapping[str, Any]):
    """A mapping whose value is another one each time, as if another thread changed it."""

    def __init__(self) -> None:
        self.reads = 0

    def __getitem__(self, name: str) -> Any:
        self.reads += 1
        return f"v{self.reads}"

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["k"])


def nested(depth: int) -> Any:
    """Return a list in a list, so many times."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def samples(provider: MeterProvider, accept: str = "application/openmetrics-text") -> list[Any]:
    """Return the samples of a scrape, as prometheus_client's strict parser reads them."""
    text, _ = exposition(provider, accept)
    families = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    return [sample for family in families for sample in family.samples]


TEXTS = {
    "quotes": 'a "quoted" text',
    "backslashes": "\\a\\\\n\\",
    "newlines": "a\nb\r\nc\u2028d",
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "two surrogates": "\ud83d\ude00",
    "astral": "\U0001f600",
    "commas and braces": '",k="v"} 1 # {',
    "empty": "",
    "a megabyte": "x\n" * (1 << 19),
    "a subclass": Text("text"),
    "an enumeration": Colour.RED,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_a_label(text: str, tmp_path: Path) -> None:
    """Any text as a value is one series, found again, which a strict parser reads as what it was."""
    with provider_in(tmp_path) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        for _ in range(2):
            counter.add(1, {"k": text, "other": "x"})
            counter.add(1, {"other": "x", "k": text})
        counter.bind({"k": text, "other": "x"}).add(1)
        [value] = scraped(provider)["c"].values()
        assert value == 5
        [sample] = [each for each in samples(provider) if each.name == "c_total"]
        # A pair of surrogates is its character; what UTF-8 cannot say, and a NUL, are said by a replacement.
        expected = str.__str__(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert sample.labels.get("k", "") == expected.replace("\0", "\ufffd")
        assert sample.value == 5


ODD: dict[str, Any] = {
    "None": None,
    "True": True,
    "an int": 1,
    "a float": 1.0,
    "an infinity": math.inf,
    "a huge int": 10**30,
    "bytes": b"\xff\0",
    "a list": ["a", "b"],
    "a list of ints": [1, 2],
    "a mixed list": ["a", 1, None, 2.5],
    "a list in a list": [["a"], ["b"]],
    "a mapping": {"a": {"b": [1]}},
    "deeply nested": nested(500),
    "a set": {1},
    "an object": object(),
    "a rude object": Rude(),
    "a function": print,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_values_that_are_no_texts(odd: Any, tmp_path: Path) -> None:
    """Whatever the value of an attribute is, nothing is raised, and nothing else is touched."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        counter, histogram, gauge = (
            meter.create_counter("c"),
            meter.create_histogram("h"),
            meter.create_gauge("g"),
        )
        for _ in range(2):
            counter.add(1, {"k": odd})
            histogram.record(1, {"k": odd})
            gauge.set(1, {"k": odd})
        counter.bind({"k": odd}).add(1)
        histogram.bind({"k": odd}).record(1)
        gauge.bind({"k": odd}).set(1)
        counter.add(1, {"k": "fine"})
        found = scraped(provider)
        # All of them are one series, or where that cannot be, none.
        assert found["c"].pop(key(k="fine")) == 1
        assert list(found["c"].values()) in ([3], [])
        assert [each.count for each in found.get("h", {}).values()] in ([3], [])
        assert samples(provider)


def test_mixed_types_are_different_series(tmp_path: Path) -> None:
    """True, 1, 1.0 and "1", alone or beside others, are series of their own."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("m").create_counter("c")
        for _ in range(2):
            for value in (True, 1, 1.0, "1", "True", None, False, 0, b"1"):
                counter.add(1, {"k": value, "other": "x"})
        assert list(scraped(provider)["c"].values()) == [2] * 9
        # Two that look the same as labels are one sample, added up.
        shown = {each.labels.get("k"): each.value for each in samples(provider) if each.name == "c_total"}
        assert sum(shown.values()) == 18


MAPPINGS: dict[str, Any] = {
    "a list": ["k", "v"],
    "a text": "k",
    "an int": 7,
    "an object": object(),
    "a rude object": Rude(),
    "pairs": [("k", "v")],
    "a class": dict,
    "broken at once": Broken(0),
    "broken the second time": Broken(1),
    "broken the third time": Broken(2),
    "broken the fourth time": Broken(3),
    "an int as a key": {1: "v"},
    "None as a key": {None: "v"},
    "a tuple as a key": {("a", "b"): "v"},
    "an empty key": {"": "v"},
    "a rude key": {Text("k"): Rude()},
}


@pytest.mark.parametrize("attributes", MAPPINGS.values(), ids=MAPPINGS)
def test_attributes_that_are_none(attributes: Any, tmp_path: Path) -> None:
    """What is no mapping of texts raises nothing, is counted at most once, and touches nothing else."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        counter, histogram, gauge = (
            meter.create_counter("c"),
            meter.create_histogram("h"),
            meter.create_gauge("g"),
        )
        counter.add(1, {"k": "fine"})
        counter.add(1, attributes)
        histogram.record(1, attributes)
        gauge.set(1, attributes)
        counter.bind(attributes).add(1)
        histogram.bind(attributes).record(1)
        gauge.bind(attributes).set(1)
        found = scraped(provider)
        assert found["c"].pop(key(k="fine")) == 1
        assert sum(found["c"].values()) <= 2
        assert samples(provider)


def test_attributes_that_change_meanwhile(tmp_path: Path) -> None:
    """A mapping that another thread changes is counted once, and spoils no other series."""
    with provider_in(tmp_path) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        shifting = Shifting()
        counter.add(1, shifting)
        for number in range(shifting.reads + 2):
            counter.add(10, {"k": f"v{number}"})
        found = scraped(provider)["c"]
        assert sorted(found.values()) == [10] * (shifting.reads + 1) + [11]


def test_attributes_changed_after_the_call(tmp_path: Path) -> None:
    """What the caller does with its mapping and its lists after the call changes nothing."""
    with provider_in(tmp_path) as provider:
        counter: Any = provider.get_meter("m").create_counter("c")
        attributes: dict[str, Any] = {"k": "v", "list": ["a"]}
        bound = counter.bind(attributes)
        counter.add(1, attributes)
        attributes["list"].append("b")
        attributes["k"] = "w"
        counter.add(1, attributes)
        bound.add(1)
        found = scraped(provider)["c"]
        assert found[key(k="w", list=("a", "b"))] == 1
        assert found[key(k="v", list=("a",))] >= 1
        assert sum(found.values()) == 3


FINITE: dict[str, tuple[Any, float]] = {
    "True": (True, 1),
    "a large int": (2**53 + 1, 2**53 + 1),
    "an int beyond 64 bits": (10**30, 10**30),
    "a number like numpy's": (Number(2.5), 2.5),
    "a Decimal": (decimal.Decimal("2.5"), 2.5),
    "a Fraction": (fractions.Fraction(5, 2), 2.5),
    "the smallest": (5e-324, 5e-324),
    "minus zero": (-0.0, 0.0),
}


@pytest.mark.parametrize(("amount", "value"), FINITE.values(), ids=FINITE)
def test_unusual_amounts_are_counted(amount: Any, value: float, tmp_path: Path) -> None:
    """Anything that is a finite number is counted as what it is, by every path, beside ints and floats."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        counter, histogram, gauge = (
            meter.create_counter("c"),
            meter.create_histogram("h"),
            meter.create_gauge("g"),
        )
        for _ in range(2):
            counter.add(amount)
            histogram.record(amount)
        counter.bind().add(amount)
        histogram.bind().record(amount)
        gauge.set(amount)
        found = scraped(provider)
        assert found["c"][key()] == pytest.approx(3 * value, rel=1e-15)
        assert found["g"][key()] in (value, float(value))
        value = float(value)
        histogram_value = found["h"][key()]
        assert (histogram_value.count, sum(histogram_value.buckets)) == (3, 3)
        assert histogram_value.sum == pytest.approx(3 * value, rel=1e-15)
        assert (histogram_value.minimum, histogram_value.maximum) == (value, value)
        assert samples(provider)


WRONG: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "an int beyond floats": 10**400,
    "a NaN like numpy's": Number(math.nan),
    "a Decimal's NaN": decimal.Decimal("nan"),
    "a signalling NaN": decimal.Decimal("snan"),
    "negative": -1,
    "a negative float": -0.5,
    "a negative Fraction": fractions.Fraction(-1, 2),
    "None": None,
    "a text": "1",
    "bytes": b"1",
    "a list": [1],
    "complex": 1j,
    "rude": Rude(),
    "a class": int,
}


@pytest.mark.parametrize("amount", WRONG.values(), ids=WRONG)
def test_wrong_amounts_are_ignored(amount: Any, tmp_path: Path) -> None:
    """What is no finite number, or negative where nothing may be, raises nothing and is not counted."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
        for attributes in ({"k": "v"}, None):
            counter.add(1, attributes)
            histogram.record(1, attributes)
            counter.add(amount, attributes)
            histogram.record(amount, attributes)
            counter.bind(attributes).add(amount)
            histogram.bind(attributes).record(amount)
            counter.add(0.5, attributes)
            histogram.record(0.5, attributes)
        counter.add(amount, {"k": "new"})
        found = scraped(provider)
        both = [key(k="v"), key()]
        assert [found["c"][each] for each in both] == [1.5, 1.5]
        for each in both:
            value = found["h"][each]
            assert (value.count, value.sum, value.minimum, value.maximum) == (2, 1.5, 0.5, 1)
        assert samples(provider)


@pytest.mark.parametrize("amount", [2**63 - 1, 2**62, 1.7e308])
def test_sums_that_grow_beyond_64_bits(amount: float, tmp_path: Path) -> None:
    """A sum of ints that no cell can hold goes on as a float, and one of floats ends at infinity."""
    with provider_in(tmp_path) as provider:
        meter = provider.get_meter("m")
        counter, both = meter.create_counter("c"), meter.create_up_down_counter("u")
        for _ in range(4):
            counter.add(amount)
            both.add(-amount)
        found = scraped(provider)
        assert found["c"][key()] == pytest.approx(4.0 * amount)
        assert found["u"][key()] == pytest.approx(-4.0 * amount)
        assert samples(provider)


def test_names_that_collide(tmp_path: Path) -> None:
    """Names that become one, kinds and descriptions that contradict each other: the scrape still parses."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        for name in ("a.b", "a_b", "a-b", "A/b"):
            meter.create_counter(name, description=name).add(1, {"k": name})
        meter.create_counter("a.b", unit="s").add(1)
        meter.create_histogram("a.b").record(1)
        meter.create_gauge("a_b_total").set(1)
        meter.create_counter("h_count").add(1)
        meter.create_histogram("h").record(1)
        meter.create_gauge("target").set(1)
        provider.get_meter("other").create_counter("a.b").add(1, {"k": "other"})
        # Keys that collide too, and those that the format needs for itself.
        labels = meter.create_counter("labels")
        labels.add(1, {"x.y": "1", "x_y": "2", "x-y": "3"})
        labels.add(1, {"le": "1", "quantile": "2", "__name__": "3", "job": "4", "0": "5"})
        meter.create_histogram("le").record(1, {"le": "mine"})
        found = samples(provider)
        names = {(each.name, tuple(sorted(each.labels.items()))) for each in found}
        assert len(names) == len(found), "a series is there twice"
        assert sum(each.value for each in found if each.name == "labels_total") == 2
        assert {"a.b", "a_b", "a-b", "A/b"} <= {each.labels.get("k") for each in found}
        for accept in ("text/plain", "text/plain;version=1.0.0;escaping=allow-utf-8"):
            assert exposition(provider, accept)[0]


@pytest.mark.parametrize("name", ["", "1a", "ä", "a b", "a" * 256, "a\n", "a\ud800", None, 7])
def test_names_that_are_none(name: Any, tmp_path: Path) -> None:
    """A name that is none gives an instrument that drops, of every kind."""
    with provider_in(tmp_path) as provider:
        meter: Any = provider.get_meter("m")
        meter.create_counter("fine").add(1)
        meter.create_counter(name).add(1)
        meter.create_up_down_counter(name).add(1)
        meter.create_histogram(name).record(1)
        meter.create_gauge(name).set(1)
        meter.create_observable_counter(name, [lambda _: []])
        meter.create_observable_gauge(name, [lambda _: []])
        provider.observe()
        assert scraped(provider) == {"fine": {key(): 1}}
