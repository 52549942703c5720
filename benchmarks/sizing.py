"""What a run under load found, kept as data and shown in docs/sizing.md."""

import json
import re
import statistics
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import document, results
from benchmarks.results import Machine

ROOT = Path(__file__).parent.parent
PATH = ROOT / "docs" / "sizing.md"
FOLDER = results.FOLDER / "load"
CONFIGURATION = ROOT / "otel-collector" / "exporters" / "victoriametrics.yaml"
COLUMNS = ("tier", "what", "measured", "least to most", "for 1,000 series")
# What the estimates are computed from.
COLLECTOR, VICTORIA, PROMETHEUS = "Collector", "VictoriaMetrics", "Prometheus, scraping"
CPU, BEYOND = "CPU", "memory beyond that of the idle program"
QUEUED = "queued in a minute without the store"
STORED = "on the disk, a sample"
ESTIMATED = (10_000, 100_000, 1_000_000)
DAYS = 30
PROGRAMS = ("collector", "victoriametrics", "prometheus")


@dataclass(frozen=True)
class Figure:
    """One thing that was measured of a tier, in rounds; what `scales` grows in proportion with the series."""

    tier: str
    what: str
    unit: str
    rounds: Sequence[float]
    scales: bool = False

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Load:
    """What was simulated; `interval` and the phases are in seconds."""

    backends: int
    series: int
    interval: float
    measured: float
    outage: float

    @property
    def total(self) -> int:
        """The number of series of all backends."""
        return self.backends * self.series


@dataclass(frozen=True)
class Sizing:
    """A dated run of the load."""

    machine: Machine
    load: Load
    figures: Sequence[Figure] = ()
    seconds: float = 0.0
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def median(self, tier: str, what: str) -> float:
        """Return the median of a figure; raises ValueError where there is none of that name."""
        (found,) = (each.median for each in self.figures if (each.tier, each.what) == (tier, what))
        return found

    def save(self, folder: Path = FOLDER) -> Path:
        """Keep the run as data, named by its date, and return where."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.started[:19].replace(':', '')}Z.json"
        path.write_text(json.dumps(results.rounded(asdict(self)), indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "Sizing":
        """Read a run that was kept."""
        data = json.loads(path.read_text(encoding="utf-8"))
        data["machine"] = Machine(**data["machine"])
        data["load"] = Load(**data["load"])
        data["figures"] = [Figure(**each) for each in data["figures"]]
        return cls(**data)


def machine() -> Machine:
    """Describe this machine and the programs that are measured on it."""
    with (ROOT / "versions.toml").open("rb") as file:
        programs = tomllib.load(file)["programs"]
    return replace(Machine.describe(), versions={name: programs[name]["version"] for name in PROGRAMS})


def write(path: Path) -> None:
    """Show a run that was kept in docs/sizing.md."""
    PATH.write_text(updated(PATH.read_text(encoding="utf-8"), path), encoding="utf-8")


def updated(text: str, path: Path) -> str:
    """Return the document's text with the table of a run that was kept."""
    run = Sizing.read(path)
    source = f"From `{FOLDER.relative_to(ROOT)}/{path.name}`, {run.started[:10]}."
    shown = (source, markdown(run), "What follows for other sizes:", estimates(run))
    return document.placed(text, "\n\n".join(shown))


def markdown(run: Sizing) -> str:
    """Return the table, the load and the machine."""
    lines = [_line(COLUMNS), _line(["---", "---", "--:", "--:", "--:"])]
    before = ""
    for figure in run.figures:
        lines.append(_line(_cells(figure, run.load.total, figure.tier if figure.tier != before else "")))
        before = figure.tier
    return "\n".join(lines) + f"\n\n{described(run)}"


def estimates(run: Sizing) -> str:
    """Return what other numbers of series take, and how long the queue holds, as a table in Markdown."""
    lines = [
        _line(("series", *(f"{count:,}" for count in ESTIMATED))),
        _line(["---", *["--:"] * len(ESTIMATED)]),
    ]
    for tier in (COLLECTOR, VICTORIA, PROMETHEUS):
        for what, unit in ((CPU, "cores"), (BEYOND, "MiB")):
            lines.append(_estimate(run, f"{tier}: {what}", unit, run.median(tier, what)))
    queued = run.median(COLLECTOR, QUEUED)
    lines.append(_estimate(run, "Collector: queue for an hour without the store", "GiB", queued * 60 / 1024))
    held = queue_bytes() / 2**20 / queued
    minutes = [_number(held * run.load.total / count) for count in ESTIMATED]
    lines.append(_line(["Collector: what the default queue holds", *(f"{each} min" for each in minutes)]))
    samples = run.load.total * DAYS * 86_400 / run.load.interval
    for tier in (VICTORIA, PROMETHEUS):
        stored = run.median(tier, STORED) * samples / 2**30
        lines.append(_estimate(run, f"{tier}: {DAYS} days on the disk", "GiB", stored))
    return "\n".join(lines)


def queue_bytes() -> int:
    """Return the size of a back end's queue, in bytes, as the Collector's configuration has it by default."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    (found,) = re.findall(r"queue_size: \$\{env:COLLECTOR_QUEUE_BYTES:-(\d+)\}", text)
    return int(found)


def described(run: Sizing) -> str:
    """Return the load, the machine and the versions in a paragraph."""
    load, found = run.load, run.machine
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    busy = " and ".join(
        " ".join(f"{each:.2f}" for each in loads) for loads in (found.load_before, found.load_after)
    )
    return (
        f"{load.backends} backends with {load.series} series each, every {load.interval:g} s, measured over "
        f"{load.measured:g} s; the store down for {load.outage:g} s. {found.cores} shared cores, "
        f"{found.memory_gib} GiB, {found.system}; {found.python}; {versions}. Load average before and after "
        f"{busy}. The run took {run.seconds:.0f} s."
    )


def _cells(figure: Figure, series: int, tier: str) -> list[str]:
    least, most = min(figure.rounds), max(figure.rounds)
    spread = "" if len(figure.rounds) == 1 else f"{_number(least)} to {_number(most)}"
    share = f"{_number(figure.median * 1000 / series)} {figure.unit}" if figure.scales else ""
    return [tier, figure.what, f"{_number(figure.median)} {figure.unit}", spread, share]


def _estimate(run: Sizing, what: str, unit: str, measured: float) -> str:
    share = measured / run.load.total
    return _line([what, *(f"{_number(share * count)} {unit}" for count in ESTIMATED)])


def _number(value: float) -> str:
    """Return three digits that count, and all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
