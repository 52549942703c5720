"""The last samples of a run: the newest `CAPACITY`, numbered, each a line of JSON."""

import json
import os
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import uuid4

from telemetry.sdk.locks import FileLock

INTERVAL_SECONDS = 5
CAPACITY = 15 * 60 // INTERVAL_SECONDS

_LINE = re.compile(rb"(\d+) (\{.*\})")


class Line(NamedTuple):
    """A sample: its number in the run, and what was measured, as JSON."""

    seq: int
    text: bytes


class Lines(NamedTuple):
    """What a ring holds, oldest first; `run` tells one run from the next."""

    run: str
    lines: list[Line]


class Ring(Protocol):
    """Where samples are kept."""

    def claim(self) -> bool:
        """Return whether this worker is the one that samples."""

    def append(self, time: float, values: Mapping[str, float]) -> None:
        """Add the sample of a Unix time; raises OSError where it cannot be kept."""

    def read(self) -> Lines:
        """Return what is kept."""

    def close(self) -> None:
        """Let another worker sample."""


class OwnRing:
    """A worker's own samples, in memory: for numbers that are the worker's own, too."""

    def __init__(self) -> None:
        self._run = uuid4().hex
        self._lines: deque[Line] = deque(maxlen=CAPACITY)
        self._next = 1

    def claim(self) -> bool:
        """Return True."""
        return True

    def append(self, time: float, values: Mapping[str, float]) -> None:
        """Add the sample of a Unix time."""
        self._lines.append(Line(self._next, _json(self._next, time, values)))
        self._next += 1

    def read(self) -> Lines:
        """Return what is kept."""
        return Lines(self._run, list(self._lines))

    def close(self) -> None:
        """Do nothing."""


class SharedRing:
    """The samples of a run, in a file beside the numbers, written by the worker that holds a kernel lock.

    The file is appended to, and written anew with its newest lines when it has twice as many as are shown.
    Its first line names the run. A reader leaves out a line that is not whole.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "console.samples"
        self._lock = FileLock(directory / "console.lock")
        self._is_whole = False
        self._count = 0
        self._next = 1

    def claim(self) -> bool:
        """Return whether this worker is the one that samples; raises OSError where the lock cannot be had."""
        if self._lock.held:
            return True
        # What the last writer left may end in half a line.
        self._is_whole = False
        return self._lock.acquire_exclusive(blocking=False)

    def append(self, time: float, values: Mapping[str, float]) -> None:
        """Add the sample of a Unix time; raises OSError where the disk does not take it."""
        if not self._is_whole or self._count >= 2 * CAPACITY:
            self._write_anew()
        line = b"%d %s\n" % (self._next, _json(self._next, time, values))
        self._is_whole = False
        with self._path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                message = f"{self._path}: no space is left"
                raise OSError(message)
        self._is_whole = True
        self._count += 1
        self._next += 1

    def read(self) -> Lines:
        """Return what is kept, nothing where there is no file yet; raises OSError where it cannot be read."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return Lines("", [])
        run, *lines = content.split(b"\n")
        whole = lines[:-1]
        found = [match for line in whole[-CAPACITY:] if (match := _LINE.fullmatch(line))]
        return Lines(run.decode("ascii", "replace"), [Line(int(each[1]), each[2]) for each in found])

    def close(self) -> None:
        """Let another worker sample."""
        self._lock.release()

    def _write_anew(self) -> None:
        run, lines = self.read()
        new = self._path.with_suffix(".new")
        content = [(run or uuid4().hex).encode(), *(b"%d %s" % line for line in lines), b""]
        new.write_bytes(b"\n".join(content))
        os.replace(new, self._path)  # noqa: PTH105 - atomic, which Path.replace does not promise
        self._count = len(lines)
        self._next = lines[-1].seq + 1 if lines else 1
        self._is_whole = True


def _json(seq: int, time: float, values: Mapping[str, float]) -> bytes:
    sample = {"seq": seq, "time": round(time, 3), "values": values}
    return json.dumps(sample, separators=(",", ":"), ensure_ascii=False).encode()
