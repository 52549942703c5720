"""What a run found: figures beside each other, what was promised of them, and the machine they are of."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROMISED = "what was promised"
FOLDER = Path(__file__).parent / "results"
PEERS = (
    "opentelemetry-sdk",
    "opentelemetry-exporter-prometheus",
    "opentelemetry-instrumentation-fastapi",
    "prometheus-client",
    "prometheus-fastapi-instrumentator",
    "fastapi",
    "starlette",
    "uvicorn",
)


@dataclass(frozen=True)
class Peer:
    """What we are compared with, its rounds, and the ratio that ours may have at most where one was promised.

    `ratio` is the median over the rounds of ours divided by the peer's of the same round, since both slow
    down together when the machine does. A slow peer may have had part in the first rounds only.
    """

    name: str
    rounds: Sequence[float]
    ratio: float
    at_most: float | None = None

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def missed(self) -> bool:
        """Whether ours is worse than promised."""
        return self.at_most is not None and self.ratio > self.at_most


@dataclass(frozen=True)
class Row:
    """One thing that was measured; a figure of `or_at_most` in the row's unit keeps the promise, too."""

    what: str
    unit: str
    rounds: Sequence[float]
    peers: Sequence[Peer]
    or_at_most: float | None = None
    note: str = ""

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def promised(self) -> bool:
        """Whether anything was promised."""
        return any(peer.at_most is not None for peer in self.peers)

    @property
    def missed(self) -> bool:
        """Whether ours is worse than promised."""
        if self.or_at_most is not None and self.figure <= self.or_at_most:
            return False
        return any(peer.missed for peer in self.peers)


def row(
    what: str,
    unit: str,
    measured: Mapping[str, Sequence[float]],
    promised: Mapping[str, float | None],
    *,
    or_at_most: float | None = None,
    note: str = "",
) -> Row:
    """Compare ours with what was measured in the same rounds; `promised` has the peers and their bounds."""
    ours = measured["ours"]
    peers = [
        Peer(
            name,
            measured[name],
            statistics.median(mine / theirs for mine, theirs in zip(ours, measured[name], strict=False)),
            bound,
        )
        for name, bound in promised.items()
        if name in measured
    ]
    return Row(what, unit, ours, peers, or_at_most, note)


@dataclass(frozen=True)
class Machine:
    """What the figures are of."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    versions: Mapping[str, str]
    load_before: Sequence[float]
    load_after: Sequence[float] = ()

    @classmethod
    def describe(cls) -> "Machine":
        """Describe this machine as it is now."""
        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            system=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            versions={name: found for name in PEERS if (found := _version(name))},
            load_before=load(),
        )


@dataclass(frozen=True)
class Run:
    """A dated run of everything."""

    machine: Machine
    rows: Sequence[Row] = ()
    seconds: float = 0.0
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self) -> Path:
        """Keep the run as data, named by its date, and return where."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.started[:19].replace(':', '')}Z.json"
        path.write_text(json.dumps(rounded(asdict(self)), indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> "Run":
        """Read a run that was kept."""
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**{**each, "peers": [Peer(**peer) for peer in each["peers"]]}) for each in data["rows"]]
        return cls(Machine(**data["machine"]), rows, data["seconds"], data["started"])


def load() -> Sequence[float]:
    """Return how busy the machine has been for 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def rounded(value: object) -> object:
    """Return JSON's kinds of values with five digits a number."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(each) for each in value]
    return value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
