"""Fold hooks: what the layer above is shown of a dead worker, and what it may have counted."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from telemetry.sdk.archive import Folder
from telemetry.sdk.hooks import Correction, DeadWorker, tell_dead_run
from telemetry.sdk.locks import FileLock
from telemetry.sdk.merged import ExponentialValue, HistogramValue
from telemetry.sdk.provider import MeterProvider
from telemetry.sdk.sources import FOLD_LOCK
from tests.telemetry.sdk.support_metrics import Worker, key, merged, provider_in, scraped
from tests.telemetry.sdk.support_processes import output, python, wait_for

VIEWS = (
    View(instrument_name="filtered", attribute_keys={"k"}),
    View(instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation(max_size=16)),
    View(instrument_name="limited", aggregation_cardinality_limit=1),
    View(instrument_name="twice", name="first"),
    View(instrument_name="twice", name="second", attribute_keys=set()),
)


@contextmanager
def unfolded(directory: Path) -> Iterator[MeterProvider]:
    """Give a provider in whose time nobody folds."""
    with FileLock(directory / FOLD_LOCK).exclusive(), provider_in(directory, VIEWS) as provider:
        yield provider


def leave_dead(directory: Path, amount: int = 1) -> None:
    """Leave a dead worker that has measured."""
    with unfolded(directory) as provider:
        meter = provider.get_meter("test")
        meter.create_counter("requests").add(amount, {"k": "a"})
        meter.create_up_down_counter("active").add(amount)
        meter.create_histogram("durations").record(amount)
        provider.notes.put(b"cleared").clear()
        provider.notes.put(b"note %d" % amount)


def corrected(
    directory: Path, corrections: Callable[[MeterProvider], Iterable[Any]]
) -> dict[str, dict[Any, Any]]:
    """Fold a directory where each dead worker is corrected, and return what is read there afterwards."""
    with provider_in(directory, VIEWS) as provider:
        found = list(corrections(provider))
        assert Folder(directory, [lambda _: found], provider._targets_of).fold() > 0
    return merged(directory)


def test_a_hook_sees_each_dead_worker_once(tmp_path: Path) -> None:
    """A hook is shown the final points of one dead worker, its notes, its last heartbeat and who it was."""
    began = time.time_ns()
    leave_dead(tmp_path, 2)
    leave_dead(tmp_path, 3)
    seen: list[tuple[Any, ...]] = []
    with provider_in(tmp_path, VIEWS) as provider:
        meter = provider.get_meter("test")
        instruments = [
            meter.create_counter("requests"),
            meter.create_up_down_counter("active"),
            meter.create_histogram("durations"),
            meter.create_counter("never"),
        ]

        def hook(dead: DeadWorker) -> list[Correction]:
            assert began < dead.created <= dead.heartbeat < time.time_ns()
            assert dead.pid == os.getpid()
            assert (tmp_path / f"{dead.id.hex()}.segment").exists()
            seen.append((*[dead.points(instrument) for instrument in instruments], dead.notes))
            return []

        folder = Folder(tmp_path, [hook], provider._targets_of)
        assert [folder.fold(), folder.fold()] == [2, 0]

    def histogram(amount: float) -> HistogramValue:
        return HistogramValue(1, amount, amount, amount, [0, 1] + [0] * 14)

    assert sorted(seen, key=lambda each: each[-1]) == [
        ([({"k": "a"}, n)], [({}, n)], [({}, histogram(n))], [], [b"note %d" % n]) for n in (2, 3)
    ]


def test_corrections_are_added(tmp_path: Path) -> None:
    """What a hook returns is added to the dead worker's series as if it had been measured."""
    leave_dead(tmp_path)
    found = corrected(
        tmp_path,
        lambda provider: [
            Correction(provider.get_meter("test").create_counter("requests"), 5, {"k": "a"}),
            Correction(provider.get_meter("test").create_counter("requests"), 7, {"k": "new"}),
            Correction(provider.get_meter("test").create_histogram("durations"), 60.0),
        ],
    )
    assert found["requests"] == {key(k="a"): 6, key(k="new"): 7}
    assert isinstance(found["requests"][key(k="a")], int)
    buckets = [0, 1, 0, 0, 0, 1, *[0] * 10]
    assert found["durations"] == {key(): HistogramValue(2, 61.0, 1.0, 60.0, buckets)}


def test_corrections_make_streams(tmp_path: Path) -> None:
    """A correction of an instrument that no worker has used makes its stream, as its Views say."""
    leave_dead(tmp_path)

    def corrections(provider: MeterProvider) -> Iterable[Correction]:
        meter = provider.get_meter("test")
        yield Correction(meter.create_counter("Named.Seconds"), 0.5)
        yield Correction(meter.create_counter("filtered"), 1, {"k": "a", "other": "b"})
        yield Correction(meter.create_counter("filtered"), 2, {"k": "a", "other": "c"})
        yield Correction(meter.create_counter("twice"), 4, {"k": "a"})
        yield Correction(meter.create_gauge("level"), 9)
        for amount in (4.0, 0.0, 64.0):
            yield Correction(meter.create_histogram("sizes"), amount)

    found = corrected(tmp_path, corrections)
    assert found["Named.Seconds"] == {key(): 0.5}
    assert found["filtered"] == {key(k="a"): 3}
    assert found["first"] == {key(k="a"): 4}
    assert found["second"] == {key(): 4}
    assert found["level"] == {key(): 9}
    sizes = found["sizes"][key()]
    assert isinstance(sizes, ExponentialValue)
    assert (sizes.count, sizes.sum, sizes.minimum, sizes.maximum, sizes.zero_count) == (3, 68.0, 0.0, 64.0, 1)


def test_a_corrected_exponential_equals_a_recorded_one(tmp_path: Path) -> None:
    """A histogram of corrections alone is the one that the same measurements would have made."""
    amounts = [0.001, 1.0, 3.0, 8.0, 1000.0]
    recorded, empty = tmp_path / "recorded", tmp_path / "empty"
    for directory in (recorded, empty):
        directory.mkdir()
    with unfolded(recorded) as provider:
        for amount in amounts:
            provider.get_meter("test").create_histogram("sizes").record(amount)
    leave_dead(empty)
    found = corrected(
        empty,
        lambda provider: [
            Correction(provider.get_meter("test").create_histogram("sizes"), amount) for amount in amounts
        ],
    )
    assert merged(recorded)["sizes"] == found["sizes"]


def test_corrections_keep_the_limit(tmp_path: Path) -> None:
    """A corrected series beyond the limit goes to the overflow, as a measured one does."""
    with unfolded(tmp_path) as provider:
        provider.get_meter("test").create_counter("limited").add(1, {"k": "a"})
    found = corrected(
        tmp_path,
        lambda provider: [
            Correction(provider.get_meter("test").create_counter("limited"), 2, {"k": text})
            for text in ("a", "b", "c")
        ],
    )
    assert found["limited"] == {key(k="a"): 3, key({"otel.metric.overflow": True}): 4}


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf, "1", None])
def test_what_is_no_measurement_is_ignored(
    tmp_path: Path, amount: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An amount that a counter would refuse is logged, and the rest is counted."""
    leave_dead(tmp_path)

    def corrections(provider: MeterProvider) -> Iterable[Correction]:
        requests = provider.get_meter("test").create_counter("requests")
        return [Correction(requests, amount, {"k": "a"}), Correction(requests, 2, {"k": "a"})]

    assert corrected(tmp_path, corrections)["requests"] == {key(k="a"): 3}
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


def test_what_ends_with_its_worker_is_not_corrected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Corrections of up-down counters, and of what is no instrument, are logged and ignored."""
    leave_dead(tmp_path)
    found = corrected(
        tmp_path,
        lambda provider: [
            Correction(provider.get_meter("test").create_up_down_counter("active"), 1),
            Correction("requests", 1),
        ],
    )
    assert set(found) == {"requests", "durations"}
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 2


@pytest.mark.parametrize("wrong", [None, 1, [1], [None], [(1, 2)]])
def test_what_is_no_correction_is_ignored(
    tmp_path: Path, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that returns anything else is logged and ignored; the workers are folded."""
    leave_dead(tmp_path)
    before = merged(tmp_path)
    assert Folder(tmp_path, [lambda _: wrong], lambda _: ()).fold() == 1
    assert before == merged(tmp_path)
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


def test_a_hook_that_raises_corrects_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises is logged, what it gave before is dropped, and other hooks and the fold go on."""
    leave_dead(tmp_path)
    with provider_in(tmp_path, VIEWS) as provider:
        requests = provider.get_meter("test").create_counter("requests")

        def raising(_: DeadWorker) -> Iterable[Correction]:
            yield Correction(requests, 100, {"k": "a"})
            raise RuntimeError("wrong")

        hooks = [raising, lambda _: [Correction(requests, 2, {"k": "a"})]]
        assert Folder(tmp_path, hooks, provider._targets_of).fold() == 1
    assert merged(tmp_path)["requests"] == {key(k="a"): 3}
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1


def test_a_hook_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the archive cannot be written the hook's answer is kept for the next try."""
    leave_dead(tmp_path)
    asked: list[bytes] = []

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with provider_in(tmp_path, VIEWS) as provider:
        requests = provider.get_meter("test").create_counter("requests")

        def hook(dead: DeadWorker) -> list[Correction]:
            asked.append(dead.id)
            return [Correction(requests, 2, {"k": "a"})]

        folder = Folder(tmp_path, [hook], provider._targets_of)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full)
            assert folder.fold() == 0
        assert folder.fold() == 1
    assert len(asked) == 1
    assert merged(tmp_path)["requests"] == {key(k="a"): 3}


def test_the_provider_folds(tmp_path: Path) -> None:
    """A provider's own folding asks its hooks, and shows the corrections to all."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("test").create_counter("interrupted")
        provider.add_fold_hook(
            lambda dead: [Correction(counter, 1, {"note": note.decode()}) for note in dead.notes]
        )
        counter.add(1, {"note": "own"})
        with Worker.started(tmp_path) as worker:
            worker.do("meter.create_counter('interrupted').add(4, {'note': 'finished'})")
            worker.do("provider.notes.put(b'one'); provider.notes.put(b'two')")
            worker.kill()
        wait_for(lambda: provider.statistics().folded_workers == 1)
        assert scraped(provider)["interrupted"] == {
            key(note="own"): 1,
            key(note="finished"): 4,
            key(note="one"): 1,
            key(note="two"): 1,
        }


def test_a_dead_run_is_told(tmp_path: Path) -> None:
    """Every worker of a dead run that was not folded is shown to the hooks, but for broken ones."""
    leave_dead(tmp_path, 1)
    [folded] = tmp_path.glob("*.segment")
    content = folded.read_bytes()
    assert Folder(tmp_path, (), lambda _: ()).fold() == 1
    folded.write_bytes(content)  # as if killed before it was removed
    leave_dead(tmp_path, 2)
    leave_dead(tmp_path, 3)
    (tmp_path / f"{'ab' * 16}.segment").write_bytes(b"broken")
    told: list[bytes] = []

    def hook(dead: DeadWorker) -> list[Correction]:
        told.extend(dead.notes)
        return []

    tell_dead_run(tmp_path, [hook], lambda _: ())
    assert sorted(told) == [b"note 2", b"note 3"]


RUN = """
import os, signal, sys
from opentelemetry.sdk.resources import Resource
from telemetry.sdk import MeterProvider
provider = MeterProvider(resource=Resource.create({"service.name": sys.argv[1]}))
counter = provider.get_meter("test").create_counter("requests")
def hook(dead):
    print(dead.notes, dead.points(counter))
    return []
provider.add_fold_hook(hook)
counter.add(int(sys.argv[2]))
if sys.argv[3] == "die":
    provider.notes.put(b"unfinished")
    os.kill(os.getpid(), signal.SIGKILL)
steps = provider.merge()
try:
    while True: next(steps)
except StopIteration as end:
    print([stream.values for stream in end.value.streams if stream.name == "requests"])
provider.shutdown()
"""


def test_the_next_run_tells_of_the_dead_one(tmp_path: Path) -> None:
    """A run that finds a dead one shows its workers to the hooks, and starts at zero."""
    service = f"test-{os.getpid()}-{time.time_ns()}"
    with pytest.raises(AssertionError):
        output(python(RUN, service, "3", "die"))
    assert output(python(RUN, service, "4", "end")) == ["[b'unfinished'] [({}, 3)]", "[[4]]"]
