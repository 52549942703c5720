"""Notes that a worker leaves for whoever folds it."""

import logging
import os
import signal
import threading
from pathlib import Path

import pytest

from telemetry.sdk.layout import WORD, ChunkKind
from telemetry.sdk.notes import LONGEST_NOTE, read_notes
from telemetry.sdk.provider import MeterProvider
from telemetry.sdk.segment import SegmentWriter
from telemetry.sdk.snapshot import SegmentReader
from tests.telemetry.sdk.support_metrics import provider_in


def notes_in(directory: Path) -> list[bytes]:
    """Return the notes that are set in all segments of a directory."""
    found = []
    for path in directory.glob("*.segment"):
        reader = SegmentReader(path)
        reader.refresh()
        found += read_notes(reader)
        reader.close()
    return sorted(found)


def test_a_note_is_there_until_cleared(tmp_path: Path) -> None:
    """A note can be read from the segment, whatever its bytes, until it is cleared."""
    with provider_in(tmp_path) as provider:
        one = provider.notes.put(b"one")
        provider.notes.put(bytes(LONGEST_NOTE))
        assert notes_in(tmp_path) == [bytes(LONGEST_NOTE), b"one"]
        one.clear()
        assert notes_in(tmp_path) == [bytes(LONGEST_NOTE)]


def test_slots_are_used_again(tmp_path: Path) -> None:
    """Notes that come and go do not make the segment larger."""
    with provider_in(tmp_path) as provider:
        provider.notes.put(b"stays")
        [path] = tmp_path.glob("*.segment")
        size = path.stat().st_size
        for number in range(1000):
            note = provider.notes.put(b"%d" % number)
            assert notes_in(tmp_path) == [b"%d" % number, b"stays"] or number % 100
            note.clear()
        assert path.stat().st_size == size


def test_clearing_twice_takes_nobody_elses(tmp_path: Path) -> None:
    """A note that was cleared before leaves alone the note that has its slot now."""
    with provider_in(tmp_path) as provider:
        note = provider.notes.put(b"one")
        note.clear()
        provider.notes.put(b"two")
        note.clear()
        assert notes_in(tmp_path) == [b"two"]


@pytest.mark.parametrize("payload", [b"", bytes(LONGEST_NOTE + 1)])
def test_what_is_no_note_is_logged_once(
    tmp_path: Path, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty payload and one that is too long are not stored, which is logged once and not raised."""
    with provider_in(tmp_path) as provider:
        notes = [provider.notes.put(payload) for _ in range(2)]
        for note in notes:
            assert not note.is_stored
            note.clear()
    assert notes_in(tmp_path) == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_without_space_a_note_is_not_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full a note is dropped, which is logged once; later ones are kept again."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with provider_in(tmp_path) as provider:
        with monkeypatch.context() as patched:
            patched.setattr(SegmentWriter, "allocate", full)
            assert not provider.notes.put(b"one").is_stored
            assert not provider.notes.put(b"two").is_stored
        assert provider.notes.put(b"three").is_stored
        assert notes_in(tmp_path) == [b"three"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_forked_child_has_none(tmp_path: Path) -> None:
    """A child clears none of its parent's notes, and its own are in a segment of its own."""
    with provider_in(tmp_path) as provider:
        note = provider.notes.put(b"parent's")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                note.clear()
                provider.notes.put(b"child's").clear()
                provider.notes.put(b"child's second")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert notes_in(tmp_path) == [b"child's second", b"parent's"]
        note.clear()
        assert notes_in(tmp_path) == [b"child's second"]


def test_after_shutdown_nothing_is_stored(tmp_path: Path) -> None:
    """A provider that was shut down stores no note, and leaves those that were set to whoever folds it."""
    with provider_in(tmp_path) as provider:
        note = provider.notes.put(b"one")
    assert not provider.notes.put(b"two").is_stored
    note.clear()
    assert notes_in(tmp_path) == [b"one"]


def test_a_signal_handler_may_note(tmp_path: Path) -> None:
    """A signal handler that notes while its thread does so is not blocked, and all are right."""
    with provider_in(tmp_path) as provider:
        calls = []

        def handle(*_: object) -> None:
            calls.append(1)
            provider.notes.put(b"handler's").clear()

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            while len(calls) < 100:
                provider.notes.put(b"thread's").clear()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        provider.notes.put(b"last")
        assert notes_in(tmp_path) == [b"last"]


def test_threads_share_the_slots(tmp_path: Path) -> None:
    """Notes of several threads do not overwrite each other."""
    with provider_in(tmp_path) as provider:

        def work(name: bytes) -> None:
            for _ in range(200):
                provider.notes.put(name).clear()
            provider.notes.put(name)

        names = [b"a", b"b", b"c", b"d"]
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert notes_in(tmp_path) == names


def test_a_note_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    """What was damaged after its commit is not taken for a note."""
    with provider_in(tmp_path) as provider:
        provider.notes.put(b"damaged")
        provider.notes.put(b"whole")
    [path] = tmp_path.glob("*.segment")
    content = bytearray(path.read_bytes())
    content[content.index(b"damaged")] ^= 1
    path.write_bytes(content)
    assert notes_in(tmp_path) == [b"whole"]


def test_a_note_is_committed_by_its_word(tmp_path: Path) -> None:
    """Until its first word is stored, a slot holds no note; so a kill leaves a whole one or none."""
    provider: MeterProvider
    with provider_in(tmp_path) as provider:
        note = provider.notes.put(b"one")
        assert note.slot is not None
        chunk, index = note.slot
        word, chunk.ints[index] = chunk.ints[index], 0
        assert notes_in(tmp_path) == []
        chunk.write(index * 8 + WORD.size, b"one")
        assert notes_in(tmp_path) == []
        chunk.ints[index] = word
        assert notes_in(tmp_path) == [b"one"]
        assert chunk.kind is ChunkKind.NOTES
