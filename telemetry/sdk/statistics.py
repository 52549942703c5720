"""What a provider knows of itself, for whoever watches it."""

from typing import NamedTuple


class Statistics(NamedTuple):
    """Counts of this process: refused attribute sets, dropped series, dead workers that it folded.

    `skipped_segments` is as at this process' last merge; `live_workers` is of the run, now.
    """

    overflowed_sets: int
    dropped_series: int
    skipped_segments: int
    live_workers: int
    folded_workers: int
