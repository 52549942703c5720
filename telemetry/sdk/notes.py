"""Notes: what a worker leaves, should it die, to whoever folds it; the layer above says what they mean."""

import logging

from telemetry.sdk.layout import NOTE_SIZE, WORD, ChunkKind, InvalidSegmentError, checked_payload, record_word
from telemetry.sdk.run import DirectoryRefusedError
from telemetry.sdk.segment import Chunk
from telemetry.sdk.snapshot import SegmentReader
from telemetry.sdk.worker import Worker

_logger = logging.getLogger(__name__)

LONGEST_NOTE = NOTE_SIZE - WORD.size

_Slot = tuple[Chunk, int]


class Note:
    """A note that is set until it is cleared."""

    def __init__(self, notes: "Notes") -> None:
        self._notes = notes
        self.slot: _Slot | None = None
        self.epoch = -1
        self.is_cleared = False

    @property
    def is_stored(self) -> bool:
        """Whether a dead worker's folder would find it."""
        return self.slot is not None and not self.is_cleared

    def clear(self) -> None:
        """Take the note back; harmless when done twice, after a shutdown, and in a forked child."""
        self._notes.clear(self)


class Notes:
    """The notes of this process, in slots of its segment. Safe for concurrent use, in signal handlers too."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._free: list[_Slot] = []
        self._epoch = -1
        self._has_complained = False

    def put(self, payload: bytes) -> Note:
        """Set a note of 1 to 504 bytes; where it cannot be kept, that is logged once."""
        note = Note(self)
        if not 0 < len(payload) <= LONGEST_NOTE:
            self._complain(f"it has {len(payload)} bytes, not 1 to {LONGEST_NOTE}")
            return note
        registration = self._worker.registration
        if registration.is_mine:
            registration.defer(lambda: self._store(note, payload))
        else:
            self._store(note, payload)
        return note

    def clear(self, note: Note) -> None:
        """Take a note back and use its slot again."""
        registration = self._worker.registration
        if registration.is_mine:
            registration.defer(lambda: self.clear(note))
            return
        with registration.held():
            if note.is_cleared:
                return
            note.is_cleared = True
            # Of an earlier segment it is the parent's, or was given up.
            if note.slot is not None and note.epoch == self._worker.epoch:
                chunk, index = note.slot
                chunk.ints[index] = 0
                self._free.append(note.slot)

    def _store(self, note: Note, payload: bytes) -> None:
        worker = self._worker
        with worker.registration.held():
            if worker.is_closed or note.is_cleared:
                return
            try:
                worker.require_segment()
                chunk, index = note.slot = self._slot()
            except (OSError, DirectoryRefusedError) as problem:
                self._complain(str(problem))
                return
            note.epoch = worker.epoch
            chunk.write(index * 8 + WORD.size, payload)
            # One store commits; as signed: the checksum's highest bit may be set.
            word = record_word(payload)
            chunk.ints[index] = word - (1 << 64) if word >> 63 else word

    def _slot(self) -> _Slot:
        if self._epoch != self._worker.epoch:
            self._free.clear()
            self._epoch = self._worker.epoch
        if self._free:
            return self._free.pop()
        return self._worker.require_segment().allocate(ChunkKind.NOTES, NOTE_SIZE // 8)

    def _complain(self, reason: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            _logger.error("metrics: a note for the case of this worker's death is not kept: %s", reason)


def read_notes(reader: SegmentReader) -> list[bytes]:
    """Return the notes that are set in a segment; one that is being written is left out."""
    found = []
    for slot in reader.slots(ChunkKind.NOTES):
        try:
            payload = checked_payload(slot, 0, len(slot))
        except InvalidSegmentError:
            continue
        if payload is not None:
            found.append(payload)
    return found
