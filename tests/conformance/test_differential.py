"""The same random program on the official SDK and on ours collects the same data points."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat

import pytest
from hypothesis import HealthCheck, given, note, settings
from opentelemetry.sdk.metrics import MeterProvider as OfficialMeterProvider

from telemetry.sdk import MeterProvider
from tests.conformance.compare import normalised
from tests.conformance.program import Program, programs
from tests.conformance.run import ProviderFactory, run

EXAMPLES = 500


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Programs contradict themselves on purpose; their warnings are not what is tested here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new directory for each example."""
    parent = tmp_path_factory.mktemp("runs")
    return (parent / str(number) for number in itertools.count())


def check(program: Program, make_ours: ProviderFactory) -> None:
    """Run a program on both SDKs and compare every collection."""
    expected = run(program, OfficialMeterProvider)
    actual = run(program, make_ours)
    for number, (official, ours) in enumerate(zip(expected, actual, strict=True)):
        if isinstance(official, Exception):
            # Exception "official_merge_fails"; what it collects from here on is not to be compared with.
            assert str(official) == "Incorrect merge scale"
            return
        assert not isinstance(ours, Exception), ours
        # Exception "start_of_observables".
        wanted, found = normalised(official, ours, with_starts=not program.has_shared_observables)
        assert wanted == found, f"collection {number} differs"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=programs())
def test_points_equal_the_official_sdks(program: Program, directories: Iterator[Path]) -> None:
    """Any program collects the official SDK's points, but for the exceptions that have a reason."""
    note(pformat(program, width=100))
    check(program, lambda **keywords: MeterProvider(**keywords, directory=next(directories)))
