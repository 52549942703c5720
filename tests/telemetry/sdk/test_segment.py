"""A segment written and read back: chunks, records, growth, space that runs out."""

import resource
from pathlib import Path

import pytest

from telemetry.sdk.layout import (
    MAX_FILE_SIZE,
    PAGE,
    ChunkKind,
    FileKind,
    Header,
    SeriesRecord,
    StreamRecord,
)
from telemetry.sdk.locks import held_elsewhere
from telemetry.sdk.segment import SegmentWriter
from telemetry.sdk.snapshot import SegmentReader

HEADER = Header(FileKind.SEGMENT, bytes(range(16)), created=5)


@pytest.fixture
def writer(tmp_path: Path) -> SegmentWriter:
    """Give a new segment's writer."""
    return SegmentWriter.create(tmp_path, HEADER)


def series(number: int, size: int = 20) -> SeriesRecord:
    """Return a series record that tells its number, with attributes of a size."""
    return SeriesRecord(0, ChunkKind.INTS, 4112, number, b"x" * size)


def test_a_segment_is_locked_while_its_writer_has_it(tmp_path: Path) -> None:
    """A segment appears under its id, already locked, and is free when its writer closed it."""
    writer = SegmentWriter.create(tmp_path, HEADER)
    assert [path.name for path in tmp_path.iterdir()] == [f"{HEADER.id.hex()}.segment"]
    assert held_elsewhere(writer.path)
    writer.close()
    assert not held_elsewhere(writer.path)


def test_a_closed_segment_takes_nothing_more(writer: SegmentWriter) -> None:
    """Who still holds cells of a closed segment gets a ValueError, and nothing is written."""
    chunk, index = writer.allocate(ChunkKind.INTS, 1)
    writer.close()
    with pytest.raises(ValueError, match="released"):
        chunk.ints[index] = 1


def test_what_is_written_is_read(writer: SegmentWriter) -> None:
    """Header, heartbeat, streams, series and cells are read as they were written."""
    stream = StreamRecord(b"{}", "näme".encode(), 7)
    ints, at = writer.allocate(ChunkKind.INTS, 1)
    floats, float_at = writer.allocate(ChunkKind.FLOATS, 1)
    ints.ints[at] = -(1 << 63)
    floats.floats[float_at] = 0.1
    writer.append_record(stream.pack())
    writer.append_record(SeriesRecord(0, ChunkKind.FLOATS, floats.offset, 9, b"[]").pack())
    writer.heartbeat(123)
    reader = SegmentReader(writer.path)
    reader.refresh()
    (record,) = reader.take_series()
    assert (reader.header, reader.heartbeat, reader.streams) == (HEADER, 123, [stream])
    assert reader.numbers(ChunkKind.INTS)[0] == -(1 << 63)
    assert reader.numbers(ChunkKind.FLOATS)[reader.position(record, 1)] == 0.1
    reader.close()
    writer.close()


def test_many_chunks(writer: SegmentWriter) -> None:
    """Records and cells that fill many chunks are all found again, each cell where its record says."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    for number in range(20_000):
        chunk, index = writer.allocate(ChunkKind.INTS, 1)
        chunk.ints[index] = number * 3
        writer.append_record(
            SeriesRecord(0, ChunkKind.INTS, chunk.offset + index * 8, number, b"x" * (number % 50)).pack()
        )
    reader = SegmentReader(writer.path)
    reader.refresh()
    cells = reader.numbers(ChunkKind.INTS)
    found = [(record.start, cells[reader.position(record, 1)]) for record in reader.take_series()]
    assert found == [(number, number * 3) for number in range(20_000)]
    assert len(reader._chunks[ChunkKind.CATALOGUE]) > 5
    assert writer.path.stat().st_size == writer.size
    reader.close()
    writer.close()


@pytest.mark.parametrize("size", [0, 1, PAGE - 56, PAGE - 55, 70_000, 1_000_000, 5_000_000])
def test_attributes_of_any_size(writer: SegmentWriter, size: int) -> None:
    """A record of any size is found between small ones, also one that needs a chunk of its own."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    sizes = [3, size, 4, size, 5]
    for number, each in enumerate(sizes):
        writer.append_record(series(number, each).pack())
    reader = SegmentReader(writer.path)
    reader.refresh()
    assert [(each.start, len(each.attributes)) for each in reader.take_series()] == list(enumerate(sizes))
    reader.close()
    writer.close()


def test_a_reader_reads_what_is_new(writer: SegmentWriter) -> None:
    """Each refresh reads what was appended since the one before, once, over the bounds of chunks."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    reader = SegmentReader(writer.path)
    written = 0
    found: list[int] = []
    for amount in (0, 1, 200, 0, 3, 500, 1):
        for _ in range(amount):
            writer.append_record(series(written).pack())
            written += 1
        reader.refresh()
        new = [record.start for record in reader.take_series()]
        assert len(new) == amount
        found += new
    assert found == list(range(written))
    reader.close()
    writer.close()


def test_series_left_by_a_break_are_there_next_time(writer: SegmentWriter) -> None:
    """Whoever stops taking series half-way finds the others later."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    for number in range(3):
        writer.append_record(series(number).pack())
    reader = SegmentReader(writer.path)
    reader.refresh()
    taken = reader.take_series()
    assert next(taken).start == 0
    taken.close()  # type: ignore[attr-defined] # a generator
    assert [record.start for record in reader.take_series()] == [1, 2]
    reader.close()
    writer.close()


def test_an_uncommitted_record_is_not_seen(writer: SegmentWriter) -> None:
    """A record whose word is not written yet is not there; the writer being killed leaves it so."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    chunk, index = writer.allocate(ChunkKind.CATALOGUE, 8)
    chunk.write(index * 8 + 8, series(1).pack())
    reader = SegmentReader(writer.path)
    reader.refresh()
    assert list(reader.take_series()) == []
    reader.close()
    writer.close()


def test_space_grows_with_what_is_there(writer: SegmentWriter) -> None:
    """Chunks double up to 1 MiB: few chunks, and never more than about half of the space unused."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    used = 0
    for number in range(30_000):
        writer.append_record(series(number).pack())
        used += 8 + 48
        assert writer.size <= 2 * used + 3 * PAGE
    reader = SegmentReader(writer.path)
    reader.refresh()
    assert len(reader._chunks[ChunkKind.CATALOGUE]) < 15
    reader.close()
    writer.close()


def test_space_that_runs_out_is_an_error_and_nothing_is_lost(writer: SegmentWriter) -> None:
    """Where the file may not grow, an OSError is raised, and goes away with its cause."""
    writer.append_record(StreamRecord(b"{}", b"").pack())
    writer.append_record(series(0).pack())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (writer.size + PAGE - 1, hard))
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                writer.append_record(series(1, PAGE).pack())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append_record(series(2, PAGE).pack())
    reader = SegmentReader(writer.path)
    reader.refresh()
    assert [record.start for record in reader.take_series()] == [0, 2]
    reader.close()
    writer.close()


def test_a_smaller_chunk_is_taken_where_a_large_one_does_not_fit(writer: SegmentWriter) -> None:
    """With little space left (an archive is to fit, too) a chunk of just the size that is needed is made."""
    for _ in range(4):
        writer.allocate(ChunkKind.RECORDS, 4 * PAGE // 8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = writer.size
    resource.setrlimit(resource.RLIMIT_FSIZE, (before + 24 * PAGE, hard))
    try:
        writer.allocate(ChunkKind.RECORDS, 4 * PAGE // 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert writer.size == before + 5 * PAGE
    writer.close()


def test_a_segment_has_a_largest_size(writer: SegmentWriter) -> None:
    """More than the largest size of a file is refused before anything is allocated."""
    before = writer.path.stat().st_size
    with pytest.raises(OSError, match="at most"):
        writer.allocate(ChunkKind.RECORDS, MAX_FILE_SIZE // 8)
    assert writer.path.stat().st_size == before
    writer.close()
