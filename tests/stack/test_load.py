"""The pushed path at its promised load: 200 backends with 500 series each, at 15 s, three times."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import template
from benchmarks.fleet import Fleet
from benchmarks.load import BACKENDS, DRAIN_SECONDS, INTERVAL, SERIES
from benchmarks.pushing import Collector, check_nothing_lost, check_store, project_collector
from tests.support.stack.programs import ProgramUnavailableError
from tests.support.stack.victoria import VictoriaServer, running_victoria

ROUNDS = 3


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[tuple[VictoriaServer, Collector]]:
    """Give a store and the project's Collector before it."""
    try:
        victoria = running_victoria(tmp_path / "victoria")
        collector = project_collector(tmp_path, victoria.url)
        with victoria, collector as running:
            yield victoria, running
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(240)
def test_one_collector_and_one_store_take_the_load_whole(tiers: tuple[VictoriaServer, Collector]) -> None:
    """Nothing is refused, the queue is empty in the end, every series has all samples and the last value."""
    victoria, collector = tiers
    taken = template.capture(SERIES)
    with closing(Fleet(taken.push, collector.port, backends=BACKENDS, interval=INTERVAL)) as fleet:
        fleet.start(ROUNDS)
        fleet.join()
        collector.wait_until_empty(DRAIN_SECONDS)
        check_nothing_lost(collector.own(), fleet)
        check_store(victoria, fleet)
    assert len(fleet.backends) == BACKENDS
    assert {SERIES} == {len(series) for series in fleet.expected().values()}
    assert {ROUNDS} == {backend.exports for backend in fleet.backends}
