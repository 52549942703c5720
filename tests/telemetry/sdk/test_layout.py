"""FORMAT.md held against layout.py: whichever of the two changes alone fails here."""

import re
from enum import IntEnum
from pathlib import Path
from struct import Struct, calcsize
from typing import NamedTuple

import pytest

from telemetry.sdk import exemplars, layout, notes
from telemetry.sdk.definition import LARGEST_EXPONENTIAL, SMALLEST_EXPONENTIAL
from telemetry.sdk.exponential import MAX_SCALE, MIN_SCALE
from telemetry.sdk.layout import FoldedRecord, Header, InvalidSegmentError, SeriesRecord, StreamRecord
from tests.telemetry.sdk.support_metrics import provider_in

FORMAT = Path(layout.__file__).with_name("FORMAT.md").read_text("utf-8")
TYPES = {"B": "u8", "I": "u32", "Q": "u64", "q": "i64", "d": "f64", "s": "bytes", "x": "padding"}
ENUMERATIONS = [
    layout.FileKind,
    layout.ChunkKind,
    layout.RecordType,
    layout.GaugeCell,
    layout.NumberType,
    layout.HistogramCell,
    layout.ExponentialCell,
]
STRUCTURES = {
    "Header": [layout._STATIC, layout._CRC],
    "Chunks": [layout.CHUNK],
    "Stream": [layout.STREAM],
    "Series": [layout.SERIES],
    "Folded": [layout.FOLDED],
    "Exemplar slots": [layout.EXEMPLAR],
}


class Table(NamedTuple):
    """A table of FORMAT.md."""

    section: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def read_tables() -> list[Table]:
    """Return all tables of FORMAT.md."""
    found: list[Table] = []
    section = ""
    inside = False
    for line in FORMAT.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = True
            found.append(Table(section, cells, []))
        elif not set(line) <= {"|", "-"}:
            found[-1].rows.append(cells)
    return found


TABLES = read_tables()


def fields(structures: list[Struct]) -> list[tuple[int, int, str]]:
    """Return offset, size and type of each field of structures in a row, padding in one piece."""
    found: list[tuple[int, int, str]] = []
    at = 0
    for structure in structures:
        assert structure.format.startswith("<")
        for number, code in re.findall(r"(\d*)([a-zA-Z])", structure.format):
            size = calcsize(f"<{number}{code}")
            for each in [size] if code in "sx" else [calcsize(f"<{code}")] * int(number or 1):
                if code == "x" and found and found[-1][2] == "padding":
                    found[-1] = (found[-1][0], found[-1][1] + each, "padding")
                else:
                    found.append((at, each, TYPES[code]))
                at += each
    return found


def shown(value: object) -> str:
    """Return a constant as FORMAT.md shows it."""
    text = value.decode() if isinstance(value, bytes) else value
    return f"`{text}`" if isinstance(text, str) else str(text)


def test_every_table_is_checked() -> None:
    """FORMAT.md has the tables that are compared below, and no other."""
    expected = [
        "constant",
        *(each.__name__ for each in ENUMERATIONS),
        *("offset" for _ in STRUCTURES),
        "offset",  # of the header's cells
    ]
    assert sorted(table.columns[0] for table in TABLES) == sorted(expected)


def test_constants() -> None:
    """Every constant of FORMAT.md has the value that the code uses."""
    (table,) = [table for table in TABLES if table.columns[0] == "constant"]
    assert [(name, shown(getattr(layout, name))) for name, _ in table.rows] == table.rows
    numbers = {
        name for name, value in vars(layout).items() if name.isupper() and isinstance(value, int | str)
    }
    # A sum of sizes, which the header's table shows.
    assert numbers - {"STATIC_SIZE"} <= {name for name, _ in table.rows}


@pytest.mark.parametrize("enumeration", ENUMERATIONS, ids=lambda each: each.__name__)
def test_numbers(enumeration: type[IntEnum]) -> None:
    """Every number of an enumeration is the documented one, and none is missing."""
    (table,) = [table for table in TABLES if table.columns[0] == enumeration.__name__]
    # With aliases: cells of a copy are counted from the copy.
    members = [(name, str(member.value)) for name, member in enumeration.__members__.items()]
    assert [(name, number) for name, number, *_ in table.rows] == members


@pytest.mark.parametrize("section", STRUCTURES)
def test_fields(section: str) -> None:
    """Every field has the documented offset, size and type, without a gap."""
    (table,) = [
        table for table in TABLES if table.section == section and table.columns[:2] == ("offset", "size")
    ]
    documented = [(int(offset), int(size), kind) for offset, size, kind, _ in table.rows]
    assert documented == fields(STRUCTURES[section])


def test_cells_of_the_header() -> None:
    """The two cells of the header lie behind what the checksum covers, where FORMAT.md says."""
    (table,) = [table for table in TABLES if table.columns == ("offset", "cell", "written")]
    found = {cell.partition(":")[0]: int(offset) for offset, cell, _ in table.rows}
    assert found == {"committed": layout.COMMITTED_AT, "heartbeat": layout.HEARTBEAT_AT}
    assert f"first {layout.STATIC_SIZE} bytes" in FORMAT
    assert f"of the {layout._STATIC.size} bytes before it" in FORMAT


def test_limits() -> None:
    """The limits that the text tells are those of the code."""
    text = " ".join(FORMAT.split())
    assert f"has {SMALLEST_EXPONENTIAL} to {LARGEST_EXPONENTIAL:,} buckets a range" in text
    assert f"at scales from {MIN_SCALE} to {MAX_SCALE}" in text
    assert f"at most {layout.MAX_FILE_SIZE >> 30} GiB" in text
    assert f"at most {exemplars.POOL_SLOTS} slots" in text
    assert f"up to {notes.LONGEST_NOTE} bytes" in text


def test_a_file_can_be_read_by_the_document_alone(tmp_path: Path) -> None:
    """Offsets, sizes and numbers of FORMAT.md lead from a file's beginning to the value of a counter."""
    with provider_in(tmp_path) as provider:
        provider.get_meter("m").create_counter("c").add(42)
    (path,) = tmp_path.glob("*.segment")
    data = path.read_bytes()

    def number(section: str, field: str, base: int) -> int:
        rows = [row for table in TABLES if table.section == section for row in table.rows]
        offset, size, *_ = next(row for row in rows if row[-1].startswith(field))
        return int.from_bytes(data[base + int(offset) : base + int(offset) + int(size)], "little")

    kinds = {row[0]: int(row[1]) for table in TABLES if table.columns[0] == "ChunkKind" for row in table.rows}
    committed = int.from_bytes(data[104:112], "little")
    at, starts = 4096, {}
    while at < committed:
        starts[number("Chunks", "kind of chunk", at)] = at + 16
        at += number("Chunks", "size", at)
    stream = starts[kinds["CATALOGUE"]]
    series = stream + 8 + -(-int.from_bytes(data[stream : stream + 4], "little") // 8) * 8
    cell = number("Series", "offset in the file", series + 8)
    assert committed == len(data)
    assert number("Header", "version", 0) == layout.VERSION
    assert number("Series", "kind of chunk", series + 8) == kinds["INTS"]
    assert int.from_bytes(data[cell : cell + 8], "little") == 42


HEADER = Header(layout.FileKind.ARCHIVE, bytes(range(16)), b"b" * 16, 1, 2, 3, 4, 5, 6)
SERIES = SeriesRecord(3, layout.ChunkKind.FLOATS, 1 << 40, (1 << 64) - 1, b"[]")
STREAM = StreamRecord(b'{"a":1}', b"name", 4112)
FOLDED = FoldedRecord(7, frozenset({b"x" * 16, b"y" * 16}))


@pytest.mark.parametrize("record", [HEADER, SERIES, STREAM, FOLDED], ids=lambda each: type(each).__name__)
def test_what_is_packed_is_unpacked(record: Header | SeriesRecord | StreamRecord | FoldedRecord) -> None:
    """Headers and records come back from their bytes as they were."""
    assert type(record).unpack(record.pack()) == record


@pytest.mark.parametrize("record", [HEADER, SERIES, STREAM, FOLDED], ids=lambda each: type(each).__name__)
def test_what_is_cut_is_refused(record: Header | SeriesRecord | StreamRecord | FoldedRecord) -> None:
    """A record whose fixed part was cut short is refused with an error of the format's own."""
    for size in range(20 if record is STREAM else 16):
        with pytest.raises(InvalidSegmentError):
            type(record).unpack(record.pack()[:size])


def test_no_record_is_committed_by_zero() -> None:
    """The word that commits a record is never the zero that means that none is there."""
    checksum_is_zero = b"\x9d\x0a\xd9\x6d"
    assert layout.record_word(checksum_is_zero) == len(checksum_is_zero)
