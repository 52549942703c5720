"""Space for the next archive, set aside before there is anything to fold: on a full disk folding goes on."""

import os
from pathlib import Path

from telemetry.sdk.layout import ARCHIVE, PAGE, align

RESERVE = "reserve"
_MARGIN = 16 * PAGE
"""For pages that are not full, one for each kind of chunk; for the ids, and some corrections' series."""


def grow_reserve(directory: Path, segment_size: int) -> None:
    """Have space for an archive of all that the archive holds and all of a segment of that many bytes.

    An archive of both is never larger: the series that both have need space once, and its chunks are full. So
    one dead worker can always be folded; that frees its segment's space, for the next. Raises OSError where
    there is none.

    Needs no lock. Where a fold makes the file the archive meanwhile, that is followed by bytes that no reader
    looks at, and whoever folded makes a new reserve.
    """
    needed = align(size_of(directory / ARCHIVE) + segment_size + _MARGIN, PAGE)
    if size_of(directory / RESERVE) >= needed:
        return
    descriptor = os.open(directory / RESERVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size < needed:
            os.posix_fallocate(descriptor, size, needed - size)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
