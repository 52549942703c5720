"""Folding: what dead workers recorded moves into the archive, and no reader sees a difference."""

import contextlib
import logging
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, LastValueAggregation, View

from telemetry.sdk.archive import Folder
from telemetry.sdk.columns import Stream
from telemetry.sdk.exemplars import POOL_SLOTS
from telemetry.sdk.layout import MAGIC, VERSION, ChunkKind
from telemetry.sdk.locks import FileLock
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import ExemplarValue
from telemetry.sdk.provider import MeterProvider
from telemetry.sdk.snapshot import SegmentReader
from telemetry.sdk.sources import FOLD_LOCK
from tests.telemetry.sdk.support_metrics import Key, Worker, drain, key, merged, provider_in, scraped
from tests.telemetry.sdk.support_processes import wait_for

VIEWS = (
    View(instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation(max_size=8)),
    View(instrument_name="balance", aggregation=ExponentialBucketHistogramAggregation(max_size=16)),
    View(instrument_name="read_last", aggregation=LastValueAggregation()),
)
CORRUPT = bytes(range(256)) * 16


def observing(*observed: float) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
    """Return the callbacks of an instrument that observes values."""
    return [lambda _: [Observation(value, {"n": n}) for n, value in enumerate(observed)]]


def measure(provider: MeterProvider, seed: int) -> None:
    """Measure something with every kind of instrument and aggregation."""
    meter = provider.get_meter("test")
    meter.create_counter("requests").add(seed, {"k": "a"})
    meter.create_counter("requests").add(2, {"k": str(seed)})
    meter.create_counter("seconds").add(seed / 64, {"k": "a"})
    meter.create_counter("mixed").add(seed)
    meter.create_counter("mixed").add(0.25)
    for amount in range(seed):
        meter.create_histogram("durations").record(amount * 7.5, {"k": "a"})
        meter.create_histogram("sizes").record(2.0 ** (amount - 2))
    meter.create_up_down_counter("active").add(seed)
    meter.create_gauge("level").set(seed)
    meter.create_observable_counter("read", observing(seed, 5))
    meter.create_observable_counter("read_last", observing(seed))
    meter.create_observable_up_down_counter("open", observing(seed))
    meter.create_observable_gauge("heat", observing(seed))
    provider.observe()


@contextlib.contextmanager
def unfolded(directory: Path, views: Sequence[View] = (), **options: Any) -> Iterator[MeterProvider]:
    """Give a provider in whose time nobody folds."""
    with (
        FileLock(directory / FOLD_LOCK).exclusive(),
        provider_in(directory, views, **options) as provider,
    ):
        yield provider


def leave_dead(directory: Path, *seeds: int) -> None:
    """Leave the segments of dead workers that have measured."""
    for seed in seeds:
        with unfolded(directory, VIEWS, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
            measure(provider, seed)


def fold(directory: Path, *hooks: Any) -> int:
    """Fold the dead of a directory as one who comes new to it."""
    return Folder(directory, hooks, lambda _: ()).fold()


def streams_of(directory: Path) -> dict[str, Stream]:
    """Return the streams that a process reads which comes new to a directory, by name."""
    merger = Merger(directory)
    streams = {stream.merged.name: stream for stream in drain(merger.merge())}
    merger.close()
    return streams


def exemplars_of(directory: Path) -> dict[tuple[str, Key], list[ExemplarValue]]:
    """Return the exemplars in a directory that outlive their workers, by metric and attribute set."""
    return {
        (name, key(stream.merged.attributes[ordinal])): exemplars
        for name, stream in streams_of(directory).items()
        for ordinal, exemplars in stream.merged.exemplars.items()
        if stream.definition.outlives_worker
    }


def archive_of(directory: Path) -> SegmentReader:
    """Return the archive, read and closed."""
    reader = SegmentReader(directory / "archive")
    reader.refresh()
    reader.close()
    return reader


def segments(directory: Path) -> list[Path]:
    """Return the segments in a directory."""
    return sorted(directory.glob("*.segment"))


def test_totals_stay(tmp_path: Path) -> None:
    """What a reader shows is the same before a fold and after, for every kind of instrument."""
    leave_dead(tmp_path, 3, 4, 6)
    before = merged(tmp_path)
    assert {"requests", "seconds", "mixed", "durations", "sizes", "level", "read", "read_last"} == set(before)
    assert fold(tmp_path) == 3
    assert before == merged(tmp_path)
    assert segments(tmp_path) == []


def test_folds_add_up(tmp_path: Path) -> None:
    """A fold goes on from the archive before it."""
    leave_dead(tmp_path, 3, 4)
    assert fold(tmp_path) == 2
    leave_dead(tmp_path, 5)
    before = merged(tmp_path)
    [last] = segments(tmp_path)
    assert fold(tmp_path) == 1
    assert before == merged(tmp_path)
    archive = archive_of(tmp_path)
    assert archive.header.generation == 2
    assert archive.folded.count == 3
    assert {bytes.fromhex(last.stem)} == archive.folded.ids


def test_ints_stay_ints(tmp_path: Path) -> None:
    """A sum of ints is an int after folds, floats stay apart, and what no cell holds becomes a float."""
    for _ in range(2):
        with unfolded(tmp_path) as provider:
            meter = provider.get_meter("test")
            meter.create_counter("whole").add(2**53 + 1)
            meter.create_counter("fraction").add(0.5)
            meter.create_counter("large").add(2**62)
    fold(tmp_path)
    found = merged(tmp_path)
    assert {key(): 2**54 + 2} == found["whole"]
    assert isinstance(found["whole"][key()], int)
    assert {key(): 1.0} == found["fraction"]
    assert isinstance(found["fraction"][key()], float)
    assert {key(): 2.0**63} == found["large"]
    assert isinstance(found["large"][key()], float)


def test_large_ints_are_exact_beside_floats(tmp_path: Path) -> None:
    """Ints and floats of one series are folded apart: the ints lose nothing."""
    with unfolded(tmp_path) as provider:
        provider.get_meter("test").create_counter("mixed").add(2**53 + 1)
        provider.get_meter("test").create_counter("mixed").add(1.0)
    fold(tmp_path)
    reader = SegmentReader(tmp_path / "archive")
    reader.refresh()
    whole = [number for number in reader.numbers(ChunkKind.INTS) if number]
    reader.close()
    assert whole == [2**53 + 1]


def test_starts_are_the_earliest(tmp_path: Path) -> None:
    """A series' start timestamp survives folds."""
    leave_dead(tmp_path, 3, 4)
    before = {name: list(stream.merged.starts) for name, stream in streams_of(tmp_path).items()}
    fold(tmp_path)
    leave_dead(tmp_path, 3)
    fold(tmp_path)
    after = {name: list(stream.merged.starts) for name, stream in streams_of(tmp_path).items()}
    assert before["durations"] == after["durations"]
    assert before["mixed"] == after["mixed"]
    assert sorted(before["requests"]) == sorted(after["requests"])


def test_exemplars_stay(tmp_path: Path) -> None:
    """The latest exemplar of each series and bucket is in the archive."""
    leave_dead(tmp_path, 3, 9)
    before = exemplars_of(tmp_path)
    assert len(before["durations", key(k="a")]) >= 2
    fold(tmp_path)
    assert before == exemplars_of(tmp_path)


def test_exemplars_are_bounded(tmp_path: Path) -> None:
    """An archive keeps as many exemplars as one worker, the latest, however many have died."""
    for worker in range(2):
        with unfolded(tmp_path, exemplar_filter=AlwaysOnExemplarFilter()) as provider:
            for number in range(POOL_SLOTS - 24):
                provider.get_meter("test").create_counter("requests").add(1, {"n": f"{worker} {number}"})
    fold(tmp_path)
    exemplars = streams_of(tmp_path)["requests"].merged.exemplars
    assert sum(map(len, exemplars.values())) == POOL_SLOTS
    texts = streams_of(tmp_path)["requests"].merged.attributes
    assert sum(str(texts[ordinal]["n"]).startswith("1") for ordinal in exemplars) == 1000


def test_up_down_counters_end_with_their_worker(tmp_path: Path) -> None:
    """Nothing of up-down counters and observable gauges is archived."""
    leave_dead(tmp_path, 3)
    fold(tmp_path)
    archived = {record.name for record in archive_of(tmp_path).streams}
    assert {b"requests", b"level", b"read"} < archived
    assert set() == archived & {b"active", b"open", b"heat"}


def test_an_observable_counter_keeps_its_last_pass(tmp_path: Path) -> None:
    """Of an observable counter a series counts that the last callbacks still gave, and no other."""
    with unfolded(tmp_path) as provider:
        observed = [Observation(3, {"n": 1}), Observation(4, {"n": 2})]
        provider.get_meter("test").create_observable_counter("read", [lambda _: observed])
        provider.observe()
        observed.pop()
        time.sleep(0.001)
        provider.observe()
    fold(tmp_path)
    assert {key(n=1): 3} == merged(tmp_path)["read"]


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    """The segment of a living worker is not folded."""
    with provider_in(tmp_path) as provider:
        measure(provider, 3)
        before = scraped(provider)
        for _ in range(20):  # its own thread may be folding at first
            assert fold(tmp_path) == 0
            time.sleep(0.01)
        assert len(segments(tmp_path)) == 1
        assert before == scraped(provider)


def test_left_segments_are_removed(tmp_path: Path) -> None:
    """A segment that the archive lists already, after a crash, is removed and not counted twice."""
    leave_dead(tmp_path, 3, 4)
    before = merged(tmp_path)
    kept = [(path, path.read_bytes()) for path in segments(tmp_path)]
    fold(tmp_path)
    for path, content in kept:
        path.write_bytes(content)
    assert before == merged(tmp_path)
    assert fold(tmp_path) == 0
    assert segments(tmp_path) == []
    assert before == merged(tmp_path)
    assert archive_of(tmp_path).header.generation == 1


def test_a_broken_segment_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A dead segment that cannot be read is kept under another name, and looked at no more."""
    leave_dead(tmp_path, 3)
    [good] = segments(tmp_path)
    foreign = tmp_path / f"{'ab' * 16}.segment"
    foreign.write_bytes(CORRUPT)
    other = tmp_path / f"{'cd' * 16}.segment"
    shutil.copy(good, other)  # another's id
    truncated = tmp_path / f"{'ef' * 16}.segment"
    truncated.write_bytes(good.read_bytes()[:4096])
    link, folder, pipe = (tmp_path / f"{name * 16}.segment" for name in ("01", "02", "03"))
    link.symlink_to(good)
    folder.mkdir()
    os.mkfifo(pipe)
    assert fold(tmp_path) == 1
    assert fold(tmp_path) == 0
    assert segments(tmp_path) == []
    assert {"requests"} < set(merged(tmp_path))
    aside = {path.name for path in tmp_path.glob("*.broken")}
    assert {f"{path.name}.broken" for path in (foreign, other, truncated, link, folder, pipe)} == aside
    assert sum("cannot be folded" in record.message for record in caplog.records) == 6


def test_a_damaged_catalogue_is_set_aside(tmp_path: Path) -> None:
    """A segment whose records are damaged is left out of the fold, and the others are folded."""
    leave_dead(tmp_path, 3, 4)
    before = merged(tmp_path)
    damaged = segments(tmp_path)[0]
    content = bytearray(damaged.read_bytes())
    place = content.index(b'"scope"')
    content[place] ^= 1
    damaged.write_bytes(content)
    rest = merged(tmp_path)
    assert rest != before
    assert fold(tmp_path) == 1
    assert rest == merged(tmp_path)


def test_numbers_that_cannot_be_are_folded(tmp_path: Path) -> None:
    """A damaged segment whose cells add up to what no cell can hold keeps nobody from being folded."""
    leave_dead(tmp_path, 3)
    requests = merged(tmp_path)["requests"]
    [good] = segments(tmp_path)
    with unfolded(tmp_path) as provider:
        for _ in range(2):
            provider.get_meter("test").create_histogram("durations").record(12345.0, {"k": "a"})
    [damaged] = set(segments(tmp_path)) - {good}
    content = bytearray(damaged.read_bytes())
    record = content.index(struct.pack("<d", 24690.0))
    for bucket, number in enumerate([(1 << 63) - 1] * 16):
        struct.pack_into("<q", content, record + 8 * (4 + bucket), number)
    damaged.write_bytes(content)
    assert fold(tmp_path) == 2
    leave_dead(tmp_path, 3)
    assert fold(tmp_path) == 1
    assert {series: 2 * value for series, value in requests.items()} == merged(tmp_path)["requests"]


def test_few_broken_files_are_kept(tmp_path: Path) -> None:
    """Files that cannot be read do not fill the directory."""
    leave_dead(tmp_path, 3)
    for number in range(12):
        (tmp_path / f"{number:032x}.segment").write_bytes(CORRUPT)
    fold(tmp_path)
    assert len(list(tmp_path.glob("*.broken"))) == 8


def test_a_broken_archive_is_set_aside(tmp_path: Path) -> None:
    """An archive that cannot be read is kept under another name, and folding goes on without it."""
    leave_dead(tmp_path, 3)
    (tmp_path / "archive").write_bytes(CORRUPT)
    before = merged(tmp_path)
    assert fold(tmp_path) == 1
    assert before == merged(tmp_path)
    assert (tmp_path / "archive.broken").read_bytes() == CORRUPT


def test_other_versions_are_left_alone(tmp_path: Path) -> None:
    """What another version of the format wrote is neither folded nor touched."""
    leave_dead(tmp_path, 3)
    newer = MAGIC + (VERSION + 1).to_bytes(4, "little") + bytes(4084)
    (tmp_path / f"{'ab' * 16}.segment").write_bytes(newer)
    assert fold(tmp_path) == 1
    assert [tmp_path / f"{'ab' * 16}.segment"] == segments(tmp_path)
    (tmp_path / "archive").write_bytes(newer)
    leave_dead(tmp_path, 4)
    assert fold(tmp_path) == 0
    assert newer == (tmp_path / "archive").read_bytes()


def test_stale_temporaries_are_removed(tmp_path: Path) -> None:
    """Files of writers that were killed before they renamed them go; new ones, and locked ones, stay."""
    leave_dead(tmp_path, 3)
    old = [tmp_path / name for name in ("ab.new", ".delta-0.1", ".run-x", "locked.new", "mine.txt")]
    for path in old:
        path.touch()
        os.utime(path, (1, 1))
    (tmp_path / "young.new").touch()
    lock = FileLock(tmp_path / "locked.new")
    lock.acquire_exclusive()
    fold(tmp_path)
    lock.release()
    assert sorted(path.name for path in [*old, tmp_path / "young.new"] if path.exists()) == [
        "locked.new",
        "mine.txt",
        "young.new",
    ]


def test_space_is_reserved(tmp_path: Path) -> None:
    """While a worker lives there is space for an archive of all that it recorded."""
    with provider_in(tmp_path) as provider:
        counter = provider.get_meter("test").create_counter("requests")
        for size in (1, 10, 100, 1000):
            for number in range(size):
                counter.add(1, {"n": str(number)})
            [segment] = segments(tmp_path)
            assert segment.stat().st_size <= (tmp_path / "reserve").stat().st_size
    fold(tmp_path)
    assert (tmp_path / "archive").stat().st_size <= (tmp_path / "reserve").stat().st_size


def test_a_dirty_reserve_does_no_harm(tmp_path: Path) -> None:
    """What a crashed fold left in the reserve is not in the next archive."""
    leave_dead(tmp_path, 3)
    reserve = tmp_path / "reserve"
    reserve.write_bytes(b"\xff" * reserve.stat().st_size)
    before = merged(tmp_path)
    fold(tmp_path)
    assert before == merged(tmp_path)


def test_size_is_bounded(tmp_path: Path) -> None:
    """After many deaths the directory is as large as after one."""
    sizes = []
    for death in range(200):
        with provider_in(tmp_path) as provider:
            provider.get_meter("test").create_counter("requests").add(1, {"k": "a"})
        if death % 20 == 0:
            fold(tmp_path)
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    fold(tmp_path)
    assert {key(k="a"): 200} == merged(tmp_path)["requests"]
    assert sizes[0] == sizes[-1]


def test_one_of_several_folds(tmp_path: Path) -> None:
    """Where several fold at once each worker is folded by one of them."""
    leave_dead(tmp_path, *range(1, 9))
    before = merged(tmp_path)
    barrier = threading.Barrier(6)
    folded: list[int] = []

    def race() -> None:
        folder = Folder(tmp_path, (), lambda _: ())
        barrier.wait()
        folded.extend(folder.fold() for _ in range(3))

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(folded) == 8
    assert before == merged(tmp_path)


def test_no_counter_falls(tmp_path: Path) -> None:
    """While workers are killed and folded under the eyes of quick readers, no counter falls."""
    seen: list[list[dict[str, Any]]] = [[], []]
    stop = threading.Event()

    def read(provider: MeterProvider, found: list[dict[str, Any]]) -> None:
        while not stop.wait(0.01):
            found.append(scraped(provider))

    with provider_in(tmp_path) as first, provider_in(tmp_path) as second:
        for provider in (first, second):
            provider.get_meter("test").create_counter("alive").add(1)
        threads = [
            threading.Thread(target=read, args=pair) for pair in zip((first, second), seen, strict=True)
        ]
        for thread in threads:
            thread.start()
        for _ in range(5):
            with Worker.started(tmp_path) as worker:
                worker.do("for n in range(400): meter.create_counter('requests').add(1, {'n': str(n % 7)})")
                worker.do("for n in range(400): meter.create_histogram('durations').record(n / 64)")
                worker.kill()
        wait_for(lambda: len(segments(tmp_path)) == 2)
        stop.set()
        for thread in threads:
            thread.join()
        totals = scraped(first)
    for found in seen:
        counts = [sum(each.get("requests", {}).values()) for each in found]
        assert sorted(counts) == counts
        observed = [each["durations"][key()].count if "durations" in each else 0 for each in found]
        assert sorted(observed) == observed
    assert sum(totals["requests"].values()) == 2000
    assert totals["durations"][key()].count == 2000
    assert 5 * sum(n / 64 for n in range(400)) == totals["durations"][key()].sum


def test_a_failed_write_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without space for the archive the dead keep their files, which still count; that is logged once."""
    leave_dead(tmp_path, 3, 4)
    before = merged(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    folder = Folder(tmp_path, (), lambda _: ())
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert [folder.fold(), folder.fold()] == [0, 0]
    assert before == merged(tmp_path)
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1
    assert folder.fold() == 2
    assert before == merged(tmp_path)
