"""What a provider knows of itself, for whoever watches it."""

from typing import NamedTuple


class Statistics(NamedTuple):
    """Counts of this process: refused attribute sets, dropped series, dead workers that it folded.

    `skipped_segments` and `live_workers` are as at this process' last merge.
    """

    overflowed_sets: int
    dropped_series: int
    skipped_segments: int
    live_workers: int
    folded_workers: int
