"""Ours beside each peer and each promise, in one run and one table: `python -m benchmarks`.

`python -m benchmarks recording deaths` measures those groups only, and keeps nothing. `python -m
benchmarks load` is apart from them: it needs the stack's programs, and writes docs/sizing.md. `python -m
benchmarks plot` draws the last run, as docs/pictures/benchmarks.svg.
"""

import sys
import time
from dataclasses import replace

from benchmarks import (
    application,
    backend,
    deaths,
    document,
    latency,
    memory,
    recorder,
    recording,
    scraping,
    table,
)
from benchmarks import load as under_load
from benchmarks.results import Machine, Row, Run, load

GROUPS = {
    "recording": recording.rows,
    "scraping": scraping.rows,
    "deaths": deaths.rows,
    "latency": latency.rows,
    "memory": memory.rows,
    "application": application.rows,
    "recorder": recorder.rows,
    "backend": backend.rows,
}
LOAD = "load"
PLOT = "plot"


def main(wanted: list[str]) -> None:
    """Measure, print the table, and keep the result as data and in docs/benchmarks.md."""
    if wanted == [LOAD]:
        under_load.main()
        return
    if wanted == [PLOT]:
        # Imported where wanted: it brings matplotlib, which nothing that measures needs.
        from benchmarks import plot  # noqa: PLC0415

        plot.main()
        return
    if unknown := set(wanted) - set(GROUPS):
        known = f"{', '.join(GROUPS)}, and {LOAD} and {PLOT}, each alone"
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {known}")
    run = Run(Machine.describe())
    started = time.perf_counter()
    rows: list[Row] = []
    for name, measure in GROUPS.items():
        if not wanted or name in wanted:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            rows += measure()
    run = replace(
        run,
        rows=rows,
        seconds=time.perf_counter() - started,
        machine=replace(run.machine, load_after=load()),
    )
    print(table.plain(run))
    print(table.machine(run))
    if not wanted:
        path = run.save()
        document.write(Run.load(path), path)
        print(f"kept as {path.name}, and shown in {document.PATH.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
