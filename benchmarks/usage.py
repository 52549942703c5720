"""What processes take of the machine while something else happens."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

MIB = 2**20


@dataclass
class Usage:
    """The CPU of each round, in cores, and the resident memory of each second, in MiB."""

    cores: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


class Meter:
    """What one process has taken."""

    def __init__(self, pid: int | None) -> None:
        self._process = psutil.Process(pid)

    @property
    def cpu_seconds(self) -> float:
        """Return the processor time that it has taken, in s."""
        times = self._process.cpu_times()
        return times.user + times.system

    @property
    def memory(self) -> float:
        """Return its resident memory, in MiB."""
        return self._process.memory_info().rss / MIB


def watch(
    meters: Mapping[str, Meter],
    *,
    rounds: int,
    interval: float,
    every_second: Callable[[], None] = lambda: None,
) -> dict[str, Usage]:
    """Measure processes over rounds of `interval` seconds."""
    usage = {name: Usage() for name in meters}
    for _ in range(rounds):
        before = {name: meter.cpu_seconds for name, meter in meters.items()}
        began = time.monotonic()
        while (left := began + interval - time.monotonic()) > 0:
            every_second()
            for name, meter in meters.items():
                usage[name].memory.append(meter.memory)
            time.sleep(min(1.0, left))
        elapsed = time.monotonic() - began
        for name, meter in meters.items():
            usage[name].cores.append((meter.cpu_seconds - before[name]) / elapsed)
    return usage


def grown(usage: Usage, idle: float) -> Sequence[float]:
    """Return by how much the memory's median lies above what the process had before, in MiB."""
    return [statistics.median(usage.memory) - idle]
