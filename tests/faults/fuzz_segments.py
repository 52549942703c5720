"""Fuzz the reader and the merge of segments, guided by coverage; not part of the suite.

Needs atheris, which is not among the project's dependencies:

    pip install --target FOLDER atheris
    export PYTHONPATH=.:FOLDER
    python -m tests.faults.fuzz_segments FOLDER_OF_INPUTS -max_total_time=600

It begins with tests/faults/corpus, which `test_bad_segments.py` replays, and adds to the folder what leads to
new code; `gzip -9n` makes that part of the corpus. A failing input is left in the current directory.
"""

import gzip
import logging
import random
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore] # installed for a run only

with atheris.instrument_imports(include=["telemetry.sdk"]):
    from telemetry.sdk.merge import Merger

from tests.faults.segments import HEALTHY, add_healthy, broken_path, chunks, sample, with_checksums
from tests.telemetry.sdk.support_metrics import drain, values

_LARGEST = 1 << 16


def mutate(data: bytes, _: int, seed: int) -> bytes:
    """Change what a chunk or the header says rather than the zeros behind it; mostly with right checksums."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    places = [(0, 4096), *((start - 16, end) for __, start, end in chunks(data))]
    start, end = chance.choice(places)
    size = min(end, len(data)) - start
    if size <= 0 or chance.random() < 0.05:
        return bytes(atheris.Mutate(data, _LARGEST))
    said = data[start : start + size].rstrip(b"\0") + bytes(8)
    changed = atheris.Mutate(said, max(1, min(size, len(said) + 64))).ljust(size, b"\0")
    result = data[:start] + changed + data[start + size :]
    return result if chance.random() < 0.1 else with_checksums(result)


def fuzz(directory: Path, data: bytes) -> None:
    """Merge a directory in which a segment has these bytes, twice; the other one must be complete."""
    broken_path(directory).write_bytes(data)
    merger = Merger(directory)
    for _ in range(2):
        streams = drain(merger.merge())
        assert values([each for each in streams if each.merged.name in HEALTHY]) == HEALTHY
        for stream in streams:
            assert len(list(stream.merged.attributes)) == len(stream.merged.values)
    merger.close()


def main() -> None:
    """Fuzz with the arguments of libFuzzer."""
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="fuzz-segments-") as folder:
        seed = sample(Path(folder))
        for path in Path(folder).iterdir():
            path.unlink()
        add_healthy(Path(folder))
        if corpora := [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]:
            corpora[0].mkdir(parents=True, exist_ok=True)
            (corpora[0] / "seed").write_bytes(seed)
            for path in (Path(__file__).parent / "corpus").glob("*.gz"):
                (corpora[0] / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        atheris.Setup(
            [sys.argv[0], f"-max_len={_LARGEST}", "-len_control=0", "-rss_limit_mb=1024", *sys.argv[1:]],
            lambda data: fuzz(Path(folder), data),
            custom_mutator=mutate,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
