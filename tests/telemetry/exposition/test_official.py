"""The same metrics through the official exporter and through ours, parsed: they must be equal.

Where equality is not to be had, and why:

- A gauge of unit 1 ends in `_ratio`, as the specification and the Collector have it; the official exporter
  leaves that out.
- A `le` attribute on a histogram is kept as `exported_le`; the official exporter overwrites it.
- Attributes whose keys become one label are joined (item 29); the official exporter keeps the last.
- Series that look alike are added up, and of conflicting types one is left out (item 28); the official
  exporter writes what no parser accepts.
- NUL becomes U+FFFD, because Prometheus' lexer ends the scrape there.
- The official exporter fails on exponential histograms.
"""

import json
import string
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AnyValue
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from telemetry.exposition import exposition
from telemetry.exposition.negotiation import Exposition
from telemetry.sdk import MeterProvider as SharedMemoryProvider
from tests.telemetry.exposition.sources import OPENMETRICS, TEXT, from_official, parsed, samples, text_of

# Quotes, backslashes, newlines, text that is not ASCII. No NUL and no surrogates: see above.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=12
)
VALUES = TEXTS | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.lists(TEXTS, max_size=2)
# Keys that stay different labels, and are none that the formats need.
KEYS = st.sampled_from(["http.method", "status_code", "path", "server-tag", "Ort", "k2"])
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=3)
NAMES = st.text(string.ascii_letters + string.digits + "._-/", max_size=20).map(lambda name: f"n{name}")
UNITS = st.sampled_from(
    [
        "",
        "s",
        "ms",
        "By",
        "By/s",
        "m/s",
        "{request}",
        "{request}/s",
        "%",
        "1",
        "KiBy",
        "seconds",
        "odd unit",
        "/x",
    ]
)
AMOUNTS = st.integers(0, 2**53) | st.floats(0, 1e15)
DESCRIPTIONS = st.text(string.printable, max_size=20).map(lambda text: f"about {text.strip()}.")
KINDS = ("counter", "up_down_counter", "histogram", "gauge", "observable_counter")
INSTRUMENTS = st.tuples(
    st.sampled_from(KINDS),
    NAMES,
    UNITS,
    DESCRIPTIONS,
    st.lists(st.tuples(ATTRIBUTES, AMOUNTS), min_size=1, max_size=5),
)


Amounts = list[tuple[dict[str, AnyValue], float]]
Instrument = tuple[str, str, str, str, Amounts]


def record(meter: Meter, instrument: Instrument) -> None:
    """Make an instrument and record amounts with their attributes."""
    kind, name, unit, about, amounts = instrument
    if kind == "counter":
        counter = meter.create_counter(name, unit, about)
        for attributes, amount in amounts:
            counter.add(amount, attributes)
    elif kind == "up_down_counter":
        level = meter.create_up_down_counter(name, unit, about)
        for attributes, amount in amounts:
            level.add(-amount, attributes)
    elif kind == "gauge":
        gauge = meter.create_gauge(name, "%" if unit == "1" else unit, about)
        for attributes, amount in amounts:
            gauge.set(amount, attributes)
    elif kind == "histogram":
        histogram = meter.create_histogram(
            name, unit, about, explicit_bucket_boundaries_advisory=[0.1, 1.0, 1e6]
        )
        for attributes, amount in amounts:
            histogram.record(amount, attributes)
    else:
        observations = [Observation(amount, attributes) for attributes, amount in amounts]
        meter.create_observable_counter(name, [lambda _: observations], unit, about)


def latest(registry: CollectorRegistry, exposition: Exposition) -> str:
    """Return what the official exporter writes."""
    write = generate_openmetrics if exposition is OPENMETRICS else generate_latest
    text: bytes = write(registry)
    return text.decode()


def unlike(amounts: Amounts) -> Amounts:
    """Return the amounts without those whose series would look like an earlier one."""
    found: dict[frozenset[tuple[str, str]], tuple[dict[str, AnyValue], float]] = {}
    for attributes, amount in amounts:
        shown = {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()
        }
        found.setdefault(
            frozenset((key, value) for key, value in shown.items() if value), (attributes, amount)
        )
    return list(found.values())


@settings(max_examples=80, deadline=None)
@given(st.lists(INSTRUMENTS, min_size=1, max_size=4))
def test_scrapes_equal_those_of_the_official_exporter(program: list[Instrument]) -> None:
    """Items 22, 23, 26, 27, 31: types, help, units, names, labels and values are the official exporter's."""
    registry = CollectorRegistry()
    memory = InMemoryMetricReader()
    provider = MeterProvider(
        [PrometheusMetricReader(scope_info_enabled=False, registry=registry), memory],
        Resource({"service.name": "program", "host.name": 'a"b', "ids": [1, 2]}),
        shutdown_on_exit=False,
    )
    for number, (kind, name, unit, about, amounts) in enumerate(program):
        renamed = (kind, f"m{number}.{name}", unit, about, unlike(amounts))
        record(provider.get_meter("program", "1.2.3"), renamed)
    data = memory.get_metrics_data()
    assert data is not None
    ours = from_official(data)
    try:
        assert samples(parsed(latest(registry, TEXT), TEXT)) == samples(parsed(text_of(ours, TEXT), TEXT))
        assert samples(parsed(latest(registry, OPENMETRICS))) == samples(parsed(text_of(ours)))
    finally:
        provider.shutdown()


@settings(max_examples=40, deadline=None)
@given(st.lists(INSTRUMENTS, min_size=1, max_size=4))
def test_the_whole_path_scrapes_like_the_official_one(program: list[Instrument]) -> None:
    """The same calls on our SDK and endpoint give the scrape of the official SDK and exporter.

    But for the resource, which is the run's, and the case of names, which the official SDK drops.
    """
    registry = CollectorRegistry()
    official = MeterProvider(
        [PrometheusMetricReader(scope_info_enabled=False, registry=registry)], shutdown_on_exit=False
    )
    with tempfile.TemporaryDirectory() as directory:
        ours = SharedMemoryProvider(directory=f"{directory}/metrics", shutdown_on_exit=False)
        for number, (kind, name, unit, about, amounts) in enumerate(program):
            renamed = (kind, f"m{number}.{name.lower()}", unit, about, unlike(amounts))
            record(official.get_meter("program"), renamed)
            record(ours.get_meter("program"), renamed)
        text = exposition(ours, "application/openmetrics-text")[0].decode()
        shown = samples(parsed(text))
        expected = samples(parsed(latest(registry, OPENMETRICS)))
        official.shutdown()
        ours.shutdown()
    assert shown.pop("target")[0] == expected.pop("target")[0] == "info"
    assert shown == expected


def test_scope_labels_are_those_of_the_official_exporter() -> None:
    """Item 23: where they are switched on, a scope's name, version, schema URL and attributes are labels."""
    registry = CollectorRegistry()
    memory = InMemoryMetricReader()
    provider = MeterProvider([PrometheusMetricReader(registry=registry), memory], shutdown_on_exit=False)
    for scope in ("one", "two"):
        meter = provider.get_meter(scope, "1.2.3", "https://schema.example/1", {"team.name": "t"})
        meter.create_counter("requests").add(1, {"otel_scope_version": "mine"} if scope == "two" else {})
    data = memory.get_metrics_data()
    assert data is not None
    official = samples(parsed(latest(registry, OPENMETRICS)))
    provider.shutdown()
    assert official == samples(parsed(text_of(from_official(data), scope_labels=True)))
    assert len(official["requests"][3]) == 2
