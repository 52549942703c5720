"""Segments that are not what they should be: skipped, counted and named once, and the others complete."""

import gzip
import logging
import os
import resource
import socket
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.sdk.definition import AggregationSpec, InstrumentKind, StreamDefinition
from telemetry.sdk.layout import (
    CHUNK,
    CHUNK_MAGIC,
    COMMITTED_AT,
    HEADER_SIZE,
    PAGE,
    STATIC_SIZE,
    SUFFIX,
    VERSION,
    ChunkKind,
    FileKind,
    Header,
    InvalidSegmentError,
    SeriesRecord,
    StreamRecord,
)
from telemetry.sdk.merge import Merger
from telemetry.sdk.merged import DataKind
from telemetry.sdk.segment import SegmentWriter
from telemetry.sdk.snapshot import SegmentReader
from tests.faults.segments import (
    BROKEN_ID,
    HEALTHY,
    add_healthy,
    broken_path,
    chunks,
    header,
    read_all,
    sample,
    with_checksums,
)
from tests.telemetry.sdk.support_metrics import drain, values

CHECKED = STATIC_SIZE - 4  # of the header; then padding and cells
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.gz"))
ANY = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give the bytes of a segment with a series of each kind."""
    return sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with one healthy segment."""
    add_healthy(tmp_path)
    return tmp_path


def healthy_and_skipped(directory: Path) -> tuple[Any, int]:
    """Return what is read of the healthy segment, and how many files were skipped."""
    found, skipped = read_all(directory)
    return {name: found.get(name) for name in HEALTHY}, skipped


def skipped_with(directory: Path, data: bytes) -> int:
    """Return how many files are skipped when a segment has these bytes; the healthy one must be complete."""
    broken_path(directory).write_bytes(data)
    healthy, skipped = healthy_and_skipped(directory)
    assert healthy == HEALTHY
    return skipped


def read_alone(path: Path) -> bool:
    """Read all of one file; return whether it is accepted."""
    try:
        reader = SegmentReader(path)
    except InvalidSegmentError:
        return False
    try:
        reader.refresh()
        reader.numbers(ChunkKind.INTS)
        reader.numbers(ChunkKind.FLOATS)
        reader.records()
        list(reader.slots(ChunkKind.EXEMPLARS))
    except InvalidSegmentError:
        return False
    finally:
        reader.close()
    return True


def test_the_sample_is_whole(directory: Path, whole: bytes) -> None:
    """The segment that the tests below break is read completely while whole, and has all kinds of chunks."""
    broken_path(directory).write_bytes(whole)
    found, skipped = read_all(directory)
    assert {"sum", "exp", "gauge", "hist", *HEALTHY} == found.keys()
    assert skipped == 0
    assert {*ChunkKind} - {ChunkKind.NOTES} == {kind for kind, _, _ in chunks(whole)}
    assert whole == with_checksums(whole)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "too short", id="empty"),
        pytest.param(b"# HELP up\n", "too short", id="short"),
        pytest.param(bytes(5000), "magic", id="zeros"),
        pytest.param(os.urandom(200_000), "magic", id="random"),
        pytest.param(header(kind=FileKind.ARCHIVE), "not the file that its name says", id="archive"),
        pytest.param(header(id=bytes(16)), "not the file that its name says", id="copy"),
        pytest.param(header()[:-1], "claims 4096 bytes", id="cut header page"),
    ],
)
def test_a_file_that_is_no_segment_is_skipped_and_named_once(
    directory: Path, caplog: pytest.LogCaptureFixture, data: bytes, reason: str
) -> None:
    """A file named as a segment that is none is skipped, counted at each merge, and logged once."""
    broken_path(directory).write_bytes(data)
    merger = Merger(directory)
    for _ in range(3):
        assert values(drain(merger.merge())) == HEALTHY
        assert merger.sources.skipped == 1
    merger.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert broken_path(directory).name in record.getMessage()
    assert reason in record.getMessage()


def test_a_segment_of_another_version_is_skipped(
    directory: Path, whole: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A segment of a version that is not known is skipped, even if the rest of it makes sense."""
    assert skipped_with(directory, with_checksums(whole[:8] + b"\x02" + whole[9:])) == 1
    assert f"of version 2, this reads {VERSION}" in caplog.text


def test_things_that_are_no_files_are_skipped(directory: Path, whole: bytes) -> None:
    """Directories, FIFOs, sockets and symbolic links named as segments are skipped, and block nobody."""
    elsewhere = directory / "elsewhere"
    elsewhere.write_bytes(whole)
    broken_path(directory).symlink_to(elsewhere)
    (directory / f"dangling{SUFFIX}").symlink_to(directory / "nowhere")
    (directory / f"loop{SUFFIX}").symlink_to(directory / f"loop{SUFFIX}")
    (directory / f"directory{SUFFIX}").mkdir()
    os.mkfifo(directory / f"fifo{SUFFIX}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(directory / f"socket{SUFFIX}"))
        assert healthy_and_skipped(directory) == (HEALTHY, 6)


def test_names_that_are_no_text_are_skipped(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names with line ends or bytes that are no UTF-8 are skipped, and logged in one line."""
    for name in (b"a\nb.segment", b"\xff.segment"):
        Path(os.fsdecode(os.fsencode(directory) + b"/" + name)).write_bytes(b"x")
    assert healthy_and_skipped(directory) == (HEALTHY, 2)
    assert [record.getMessage().count("\n") for record in caplog.records] == [0, 0]


def test_a_segment_cut_anywhere_is_skipped(directory: Path, whole: bytes) -> None:
    """A segment that was truncated, at whichever byte, is refused by its reader."""
    path = broken_path(directory)
    path.write_bytes(whole)
    for size in range(len(whole) - 1, -1, -1):
        os.truncate(path, size)
        assert not read_alone(path), f"accepted when cut to {size} bytes"


def test_a_merge_of_a_cut_segment_is_complete_for_the_others(directory: Path, whole: bytes) -> None:
    """Of a truncated segment nothing is shown, of the others everything."""
    ends = {end for _, start, end in chunks(whole) for end in (start, end)} - {len(whole)}
    for size in sorted({*range(0, len(whole), 509), *(end + d for end in ends for d in (-1, 0, 1))}):
        assert skipped_with(directory, whole[:size]) == 1, f"read when cut to {size} bytes"


def flips(whole: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the file with each of its bytes flipped."""
    data = bytearray(whole)
    for at in range(len(data)):
        data[at] ^= 0xFF
        yield at, bytes(data)
        data[at] ^= 0xFF


def test_a_segment_with_any_byte_flipped_is_read_or_refused(directory: Path, whole: bytes) -> None:
    """Whichever byte is flipped, the reader accepts or refuses the file; the static header it refuses."""
    path = broken_path(directory)
    path.write_bytes(whole)
    with path.open("r+b", buffering=0) as file:
        for at, data in flips(whole):
            os.pwrite(file.fileno(), data[at : at + 1], at)
            accepted = read_alone(path)
            os.pwrite(file.fileno(), whole[at : at + 1], at)
            assert not (accepted and at < CHECKED), f"accepted with byte {at} flipped"


def test_a_merge_with_any_byte_flipped_is_complete_for_the_others(directory: Path, whole: bytes) -> None:
    """Whichever byte that says something is flipped, the others are complete; what is checked is skipped."""
    checked = [range(CHECKED)]
    for kind, start, end in chunks(whole):
        checked.append(range(start - CHUNK.size, start))
        if kind == ChunkKind.CATALOGUE:
            checked.append(range(start, start + len(whole[start:end].rstrip(b"\0"))))
    for at, data in flips(whole):
        if whole[at] or at % 509 == 0:
            skipped = skipped_with(directory, data)
            assert skipped == 1 or not any(at in each for each in checked), f"byte {at} is not checked"


mutations = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "cut", "word"]), st.integers(0, 2**15), st.binary(max_size=24)
    ),
    min_size=1,
    max_size=6,
)


def mutated(whole: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """Return the file with bytes changed, put in or taken out, half of them where it says something."""
    telling = [at for at, byte in enumerate(whole) if byte]
    data = bytearray(whole)
    for what, place, content in changes:
        at = telling[place % len(telling)] if place % 2 else place % len(whole)
        if what == "set":
            data[at : at + len(content)] = content
        elif what == "insert":
            data[at:at] = content
        elif what == "cut":
            del data[at : at + len(content)]
        else:
            at -= at % 8
            data[at : at + 8] = content[:8].ljust(8, b"\xff")
    return bytes(data)


@ANY
@given(changes=mutations)
def test_a_segment_changed_at_random_disturbs_nobody(
    directory: Path, whole: bytes, changes: list[tuple[str, int, bytes]]
) -> None:
    """Bytes changed, put in and taken out at random lead to a segment that is read or skipped, no more."""
    assert skipped_with(directory, mutated(whole, changes)) in (0, 1)


@ANY
@given(changes=mutations)
def test_a_segment_that_lies_with_right_checksums_disturbs_nobody(
    directory: Path, whole: bytes, changes: list[tuple[str, int, bytes]]
) -> None:
    """A segment that says what cannot be, with checksums that are right, is read or skipped, no more."""
    assert skipped_with(directory, with_checksums(mutated(whole, changes))) in (0, 1)


DEFINITION = StreamDefinition(
    InstrumentationScope("liar"), "c", InstrumentKind.COUNTER, "", "c", "", AggregationSpec(DataKind.SUM)
).to_text()
TRUE = SeriesRecord(0, ChunkKind.INTS, HEADER_SIZE + CHUNK.size, 1, b"[]")


@pytest.mark.parametrize(
    ("stream", "series", "expected"),
    [
        pytest.param(StreamRecord(DEFINITION, b"c"), TRUE, 0, id="nothing"),
        pytest.param(StreamRecord(DEFINITION, b"c"), replace(TRUE, stream=1), 1, id="no such stream"),
        pytest.param(StreamRecord(DEFINITION, b"c"), replace(TRUE, offset=0), 1, id="cell in the header"),
        pytest.param(StreamRecord(DEFINITION, b"c"), replace(TRUE, offset=HEADER_SIZE), 1, id="in a chunk's"),
        pytest.param(
            StreamRecord(DEFINITION, b"c"), replace(TRUE, offset=TRUE.offset + 4), 1, id="unaligned"
        ),
        pytest.param(StreamRecord(DEFINITION, b"c"), replace(TRUE, offset=2 * HEADER_SIZE), 1, id="behind"),
        pytest.param(StreamRecord(DEFINITION, b"c"), replace(TRUE, offset=(1 << 64) - 8), 1, id="far behind"),
        pytest.param(
            StreamRecord(DEFINITION, b"c"), replace(TRUE, chunk_kind=ChunkKind.FLOATS), 1, id="kind"
        ),
        pytest.param(
            StreamRecord(DEFINITION, b"c"), replace(TRUE, chunk_kind=ChunkKind.NOTES), 1, id="notes"
        ),
        pytest.param(StreamRecord(DEFINITION, b"c"), replace(TRUE, attributes=b"{}"), 1, id="attributes"),
        pytest.param(StreamRecord(b"{}", b"c"), TRUE, 1, id="definition"),
        pytest.param(StreamRecord(DEFINITION, b"c", TRUE.offset), TRUE, 1, id="callbacks' cell"),
    ],
)
def test_records_that_contradict_each_other_are_skipped(
    directory: Path, stream: StreamRecord, series: SeriesRecord, expected: int
) -> None:
    """A segment whose records are whole and say what cannot be is left out as if it had never been there."""
    writer = SegmentWriter.create(directory, Header(FileKind.SEGMENT, BROKEN_ID))
    writer.allocate(ChunkKind.INTS, 1)
    writer.append_record(stream.pack())
    writer.append_record(replace(TRUE, attributes=b'[["before",1]]').pack())
    writer.append_record(series.pack())
    found, skipped = read_all(directory)
    assert (found.get("c") is None, skipped) == (bool(expected), expected)
    assert {name: found.get(name) for name in HEALTHY} == HEALTHY
    writer.close()


@pytest.mark.parametrize("value", [-1, 1, 21, -11, 1 << 40, (1 << 63) - 1, -(1 << 63)])
def test_any_value_of_a_cell_disturbs_nobody(directory: Path, whole: bytes, value: int) -> None:
    """Cells have no checksum: whatever one says, the merge ends soon, allocates little and is complete."""
    found = [(start, end) for kind, start, end in chunks(whole) if kind == ChunkKind.RECORDS]
    tracemalloc.start()
    for start, end in found:
        for at in range(start, start + len(whole[start:end].rstrip(b"\0")) + 8, 8):
            data = whole[:at] + value.to_bytes(8, "little", signed=True) + whole[at + 8 :]
            assert skipped_with(directory, data) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_segment_that_a_fuzzer_found_disturbs_nobody(directory: Path, path: Path) -> None:
    """Files that once led a fuzzer to new code are read or skipped, no more."""
    assert skipped_with(directory, gzip.decompress(path.read_bytes())) in (0, 1)


def test_a_claim_allocates_nothing(directory: Path) -> None:
    """Sizes that a file claims and does not have allocate nothing, wherever they are claimed."""
    huge = (1 << 62).to_bytes(8, "little")
    page = header()
    claims = [
        page[:COMMITTED_AT] + huge + page[COMMITTED_AT + 8 :],
        *(_with_chunk(CHUNK.pack(CHUNK_MAGIC, kind, 1 << 62)) for kind in ChunkKind),
        *(_with_chunk(CHUNK.pack(CHUNK_MAGIC, kind, PAGE) + b"\xff" * 8) for kind in ChunkKind),
    ]
    read_all(directory)  # what is kept for ever is there by now
    for data in claims:
        tracemalloc.start()
        skipped_with(directory, data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2_000_000


def test_a_large_foreign_file_is_not_read(directory: Path) -> None:
    """Of a large file that is no segment, only a header's worth is read."""
    with broken_path(directory).open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    assert healthy_and_skipped(directory) == (HEALTHY, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_skipping_leaks_no_descriptor(directory: Path, whole: bytes) -> None:
    """Files that are skipped again and again, and an archive that is broken, leave no descriptor open."""
    broken_path(directory).write_bytes(whole[: HEADER_SIZE + 100])
    (directory / "archive").write_bytes(whole[:4096])
    merger = Merger(directory)
    drain(merger.merge())
    before = open_descriptors()
    for _ in range(20):
        (directory / "archive").unlink()
        (directory / "archive").write_bytes(whole[:4096])
        drain(merger.merge())
    assert before == open_descriptors()
    assert merger.sources.skipped == 2
    merger.close()


@pytest.mark.parametrize("size", [0, 100, HEADER_SIZE, 2 * HEADER_SIZE, 20_000])
def test_a_segment_truncated_between_merges_is_skipped(directory: Path, whole: bytes, size: int) -> None:
    """A segment that was read before and is truncated then is skipped from then on."""
    path = broken_path(directory)
    path.write_bytes(whole)
    merger = Merger(directory)
    assert {"sum", *HEALTHY} <= values(drain(merger.merge())).keys()
    os.truncate(path, size)
    for _ in range(2):
        assert values(drain(merger.merge())) == HEALTHY
        assert merger.sources.skipped == 1
    merger.close()


def test_a_segment_truncated_during_a_merge_disturbs_nobody(directory: Path, whole: bytes) -> None:
    """A segment may be truncated between any two steps of a merge."""
    path = broken_path(directory)
    step = 0
    ended = False
    while not ended:
        path.write_bytes(whole)
        merger = Merger(directory)
        steps = merger.merge()
        for _ in range(step):
            next(steps, None)
        os.truncate(path, 0)
        try:
            next(steps)
        except StopIteration:
            ended = True
        else:
            found = values(drain(steps))
            assert {name: found.get(name) for name in HEALTHY} == HEALTHY
        merger.close()
        step += 1
    assert step > 5


def test_without_descriptors_a_merge_fails_rather_than_show_less(directory: Path, whole: bytes) -> None:
    """Without a free descriptor a merge raises, since counters would fall; with one it is complete again."""
    broken_path(directory).write_bytes(whole)
    merger = Merger(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull, "rb") as lowest_free:  # noqa: PTH123 - for its number
        free = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            drain(merger.merge())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {"sum", *HEALTHY} <= values(drain(merger.merge())).keys()
    merger.close()


def _with_chunk(start: bytes) -> bytes:
    page = bytearray(header())
    page[COMMITTED_AT : COMMITTED_AT + 8] = (HEADER_SIZE + PAGE).to_bytes(8, "little")
    return bytes(page) + start.ljust(PAGE, b"\0")
