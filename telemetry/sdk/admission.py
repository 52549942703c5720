"""Which attribute sets have a series of their own.

A list of the whole run, so that the limit holds over all workers.
"""

import hashlib
import os
from pathlib import Path

from telemetry.sdk.locks import FileLock

_DIGEST = 8
_ENTRY = 2 * _DIGEST


def digest(text: bytes) -> bytes:
    """Return a short digest of a canonical text; two sets with the same one would share an admission."""
    return hashlib.blake2b(text, digest_size=_DIGEST).digest()


class Admissions:
    """The admitted attribute sets of every stream, appended to under a lock and never taken back.

    By the order of a scan instead, series would wander into the overflow and counters would fall.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "admitted"
        self._lock = FileLock(directory / "admitted.lock")
        self._known: dict[bytes, set[bytes]] = {}
        self._read_to = 0

    def admit(self, stream: bytes, attributes: bytes, limit: int) -> bool:
        """Return whether an attribute set may have its series.

        Raises OSError where there is no space to say so.
        """
        known = self._known.setdefault(stream, set())
        if attributes in known:
            return True
        if len(known) >= limit:
            return False
        with self._lock.exclusive():
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._read_new(descriptor)
                if attributes in known:
                    return True
                if len(known) >= limit:
                    return False
                # At the end of the last whole entry: a writer may have been killed half-way.
                if os.pwrite(descriptor, stream + attributes, self._read_to) != _ENTRY:
                    raise OSError("the list of admitted attribute sets cannot grow")
                self._read_to += _ENTRY
                known.add(attributes)
            finally:
                os.close(descriptor)
        return True

    def _read_new(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size - self._read_to
        data = os.pread(descriptor, size - size % _ENTRY, self._read_to)
        for at in range(0, len(data) - _ENTRY + 1, _ENTRY):
            self._known.setdefault(data[at : at + _DIGEST], set()).add(data[at + _DIGEST : at + _ENTRY])
        self._read_to += len(data) - len(data) % _ENTRY
