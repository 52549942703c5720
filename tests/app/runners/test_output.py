"""Tests of the bounded collector."""

import os
import re
import tracemalloc

import pytest

from app.runners.base import OUTPUT_LIMIT_BYTES
from app.runners.output import OutputCollector


def collect(*chunks: bytes, limit: int = OUTPUT_LIMIT_BYTES) -> str:
    collector = OutputCollector(limit)
    for chunk in chunks:
        collector.feed(chunk)
    return collector.text()


def test_short_output_is_kept_as_it_is() -> None:
    """Output within the limit comes back whole, whatever the chunks it arrived in."""
    assert collect(b"gr\xc3", b"\xbc", "n €\r\n".encode()) == "grün €\r\n"


def test_nothing_is_an_empty_text() -> None:
    """A stream without output is an empty text."""
    assert collect() == ""


def test_output_of_exactly_the_limit_is_not_cut() -> None:
    """The limit itself still fits, one byte more is cut."""
    assert collect(b"a" * 1024, limit=1024) == "a" * 1024
    assert "bytes cut" in collect(b"a" * 1025, limit=1024)


def test_nul_and_invalid_bytes_become_replacement_characters() -> None:
    """NUL and bytes that are not UTF-8 become U+FFFD; their neighbours stay."""
    assert collect(b"a\0b\xffc\xed\xa0\x80d\xc3") == "a\ufffdb\ufffdc\ufffd\ufffd\ufffdd\ufffd"


def test_the_cut_keeps_head_and_tail_and_counts_what_is_missing() -> None:
    """Head, tail and the number in the mark add up to everything that was written."""
    numbers = "".join(f"{number}\n" for number in range(100_000)).encode()
    text = collect(numbers, limit=4096)
    head, cut, tail = re.split(r"\n\[\.\.\. (\d+) bytes cut \.\.\.\]\n", text)
    assert len(numbers) == len(head) + int(cut) + len(tail)
    assert numbers.decode().startswith(head)
    assert numbers.decode().endswith(tail)
    assert 4096 - 64 <= len(text.encode()) <= 4096


@pytest.mark.parametrize("offset", range(4))
def test_a_cut_never_splits_a_character(offset: int) -> None:
    """Characters of several bytes beside the cut are whole or absent."""
    written = b"x" * offset + "🙂".encode() * 5000
    text = collect(written, limit=4096)
    head, cut, tail = re.split(r"\n\[\.\.\. (\d+) bytes cut \.\.\.\]\n", text)
    assert {"x", "🙂"} >= set(head + tail)
    assert len(written) == len((head + tail).encode()) + int(cut)


@pytest.mark.parametrize(
    "written", [bytes(1 << 20), b"\xff" * (1 << 20), os.urandom(1 << 20), b"\x80" * 9999]
)
@pytest.mark.parametrize("limit", [4096, OUTPUT_LIMIT_BYTES])
def test_replacement_characters_count_towards_the_limit(written: bytes, limit: int) -> None:
    """Binary output never yields more than the limit in UTF-8."""
    assert len(collect(written, limit=limit).encode()) <= limit


def test_a_character_between_head_and_tail_is_cut_whole() -> None:
    """A character that the two halves share leaves no half of itself behind the mark."""
    text = collect(b"\xff" * 1500 + b"a" * 547 + "é".encode() + b"z" * 100, limit=4096)
    assert text.partition("bytes cut ...]\n")[2] == "z" * 100


@pytest.mark.parametrize("size", [1, 65536, 1 << 20])
def test_a_flood_takes_bounded_memory(size: int) -> None:
    """Memory does not grow with what is written, be it in small or in large pieces."""
    collector = OutputCollector()
    chunk = b"y" * size
    tracemalloc.start()
    for _ in range(min(200_000, (64 << 20) // size)):
        collector.feed(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * OUTPUT_LIMIT_BYTES
