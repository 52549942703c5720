"""The last run as a picture: `python -m benchmarks plot` writes docs/pictures/benchmarks.svg.

Every byte of it follows from the run's file and the version of matplotlib, which brings its fonts.
"""

from io import StringIO
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.results import FOLDER, Row, Run

PATH = Path(__file__).parent.parent / "docs" / "pictures" / "benchmarks.svg"

LABEL_WIDTH = 54

# What people use today: how each is drawn, and the names that the groups give it.
PEERS = {
    "OpenTelemetry SDK and its exporter": (
        "#d1690e",
        "o",
        (
            "opentelemetry-sdk",
            "opentelemetry's exporter",
            "opentelemetry's exporter, 1 process",
            "official instrumentation and SDK",
        ),
    ),
    "prometheus_client, one process": (
        "#2f7ed8",
        "D",
        ("prometheus_client", "prometheus-fastapi-instrumentator"),
    ),
    "prometheus_client, several processes": ("#8957e5", "s", ("prometheus_client, multiprocess",)),
}

# Each colour, and what it is in the dark; those of the peers do for both.
PAPER, INK, MUTED, GRID = "#fffffe", "#1f2329", "#59636f", "#d1d9e1"
DARK = {PAPER: "#0d1117", INK: "#e6edf3", MUTED: "#9ea7b3", GRID: "#30363d"}


def main() -> None:
    """Draw the newest run that was kept."""
    PATH.write_text(drawn(Run.load(newest())), encoding="utf-8")


def newest() -> Path:
    """Return the newest run's file."""
    return max(FOLDER.glob("*.json"))


def drawn(run: Run) -> str:
    """Return the picture of a run: for each row, how many times ours each peer takes."""
    rows = [row for row in run.rows if _peers(row)]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams["svg.hashsalt"] = "aoss"
        mpl.rcParams["svg.fonttype"] = "path"
        mpl.rcParams["font.family"] = ["DejaVu Sans"]
        mpl.rcParams["text.color"] = INK
        figure = Figure(figsize=(9.4, 0.42 * len(rows) + 1.9), facecolor=PAPER)
        axes = figure.add_axes((0.43, 0.1, 0.54, 0.77))
        _draw(axes, rows)
        figure.text(0.02, 0.955, "How many times what ours takes", weight="bold", size=12)
        figure.legend(loc="upper right", bbox_to_anchor=(0.99, 0.95), ncols=3, frameon=False, fontsize=8.5)
        figure.text(
            0.02, 0.02, f"{run.started[:10]}, {run.machine.python}, {run.machine.system}", size=8, color=MUTED
        )
        text = StringIO()
        figure.savefig(text, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
    return _with_dark_colours(text.getvalue())


def _draw(axes: Axes, rows: list[Row]) -> None:
    axes.set_facecolor(PAPER)
    axes.set_xscale("log")
    axes.margins(x=0.06)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], size=8.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", colors=MUTED, labelcolor=INK, length=0)
    axes.grid(axis="both", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(1, color=INK, linewidth=1.4)
    axes.text(1, -0.75, "ours", ha="center", size=8.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for label, (colour, marker, names) in PEERS.items():
        points = [
            (1 / peer.ratio, at) for at, row in enumerate(rows) for peer in row.peers if peer.name in names
        ]
        times, places = zip(*points, strict=True)
        axes.scatter(times, places, s=46, color=colour, marker=marker, label=label, zorder=3)


def _peers(row: Row) -> bool:
    return any(peer.name in names for peer in row.peers for _, _, names in PEERS.values())


def _label(row: Row) -> str:
    # The row before says of what.
    what = row.what.replace("the same,", "scrape of", 1)
    figure = f"{row.figure:,.0f}" if row.figure >= 100 else f"{row.figure:.3g}"
    return fill(f"{what}: {figure} {row.unit}", LABEL_WIDTH)


def _with_dark_colours(svg: str) -> str:
    """Return the picture with its colours exchanged where the reader's system is dark."""
    rules = " ".join(
        f'[style*="{kind}: {light}"] {{ {kind}: {dark} !important }}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    before, opening, after = svg.partition("<defs>")
    return f"{before}<style>@media (prefers-color-scheme: dark) {{ {rules} }}</style>\n {opening}{after}"
