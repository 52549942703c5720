"""A run as one table, on the terminal and in the documentation."""

from collections.abc import Sequence

from benchmarks.results import Peer, Row, Run

COLUMNS = ("what", "ours", "peer", "peer's", "ratio", "promised", "")


def markdown(run: Run) -> str:
    """Return the table and what was missed, as Markdown."""
    lines = [_line(COLUMNS), _line(["---", "--:", "---", "--:", "--:", "--:", "---"])]
    lines += [_line(cells) for row in run.rows for cells in _cells(row)]
    notes = "\n".join(f"- {row.what}: {row.note}." for row in run.rows if row.note)
    return "\n\n".join(filter(None, ("\n".join(lines), notes, verdict(run))))


def plain(run: Run) -> str:
    """Return the table in columns of equal width."""
    rows = [COLUMNS, *(cells for row in run.rows for cells in _cells(row))]
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(COLUMNS))]
    lines = []
    for cells in rows:
        shown = [
            cell.rjust(width) if COLUMNS[at] in ("ours", "peer's", "ratio", "promised") else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(shown).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    notes = [f"{row.what}: {row.note}" for row in run.rows if row.note]
    return "\n".join([*lines, "", *notes, verdict(run)])


def verdict(run: Run) -> str:
    """Return which promises were missed, in a sentence."""
    missed = [row.what for row in run.rows if row.missed]
    promised = sum(row.promised for row in run.rows)
    if not missed:
        return f"All {promised} promises were kept."
    return f"{len(missed)} of {promised} promises were missed: {'; '.join(missed)}."


def machine(run: Run) -> str:
    """Return the machine and the versions in a paragraph."""
    described = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in described.versions.items())
    return (
        f"{described.processor}, {described.cores} cores, {described.memory_gib} GiB, {described.system}; "
        f"{described.python}; {versions}. Load average before {_load(described.load_before)}, "
        f"after {_load(described.load_after)}. The run took {run.seconds:.0f} s."
    )


def _cells(row: Row) -> list[Sequence[str]]:
    """Return a line for each peer; what is the row's stands on the first."""
    if not row.peers:
        return [(row.what, _number(row.figure, row.unit), "", "", "", "", "")]
    lines: list[Sequence[str]] = []
    for peer in row.peers:
        own = ("", "") if lines else (row.what, _number(row.figure, row.unit))
        theirs = (peer.name, _number(peer.figure, row.unit), _ratio(peer.ratio))
        lines.append((*own, *theirs, _promised(row, peer), "missed" if row.missed and peer.missed else ""))
    return lines


def _promised(row: Row, peer: Peer) -> str:
    if peer.at_most is None:
        return ""
    absolute = "" if row.or_at_most is None else f" or {_number(row.or_at_most, row.unit)}"
    return f"≤ {peer.at_most:g}{absolute}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 0.2 else f"{ratio:.2f}"


def _number(figure: float, unit: str) -> str:
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f} {unit}"


def _load(averages: Sequence[float]) -> str:
    return " ".join(f"{each:.2f}" for each in averages)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
