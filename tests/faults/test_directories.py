"""Directories and clocks as they are in the field: left over, shared, moved, foreign, and set wrong."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

from telemetry.sdk import DirectoryRefusedError, MeterProvider, clock
from telemetry.sdk.layout import SUFFIX, FileKind, Header
from telemetry.sdk.locks import FileLock, ProcessIdentity
from tests.telemetry.sdk.support_metrics import drain, key, merged, provider_in, scraped
from tests.telemetry.sdk.support_processes import line_of, python, started, wait_for

SERVICE = """
import os, sys
from opentelemetry.sdk.resources import Resource
from telemetry.sdk import MeterProvider
from tests.telemetry.sdk.support_metrics import scraped
name, directory = sys.argv[1], sys.argv[2] or None
resource = Resource({"service.name": name})
provider = MeterProvider(resource=resource, directory=directory, shutdown_on_exit=False)
counter = provider.get_meter("m").create_counter("c")
for line in sys.stdin:
    if line == "count\\n":
        counter.add(1)
    if line == "end\\n":
        provider.shutdown()
    total = sum(scraped(provider).get("c", {}).values())
    print(total, os.getpid(), provider._run.path, provider._run.path.exists(), flush=True)
"""


class Service:
    """A process of a service."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, line: str) -> tuple[int, int, Path, bool]:
        """Have it do something; return its total, its pid, its directory, and whether that is there."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        total, pid, path, exists = line_of(self.process).rsplit(" ", 3)
        return int(total), int(pid), Path(path), exists == "True"

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait(20)


def command(name: str, directory: Path | None = None) -> list[str]:
    """Return what starts a service."""
    return python(SERVICE, name, "" if directory is None else str(directory))


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    """Give the name of a service that nobody else has, and remove what its runs leave."""
    service = f"faults {tmp_path} {os.getpid()}"
    left: list[Path] = []
    yield service
    with started(command(service)) as process:
        left.append(Service(process).ask("count")[2])
    shutil.rmtree(left[0])


def test_a_pid_that_is_used_again(tmp_path: Path) -> None:
    """A segment whose writer's pid another process has by now is that of a dead worker, even if it is locked.

    A child that was forked from C may keep the lock; it has the identity of neither.
    """
    with provider_in(tmp_path / "first") as provider:
        provider.get_meter("m").create_up_down_counter("u").add(5)
        provider.get_meter("m").create_counter("c").add(5)
    [path] = (tmp_path / "first").glob(f"*{SUFFIX}")
    other = ProcessIdentity.of(os.getppid())
    assert other is not None
    for start_time, is_alive in ((other.start_time, True), (other.start_time - 1, False)):
        directory = tmp_path / str(start_time)
        directory.mkdir(mode=0o700)
        data = path.read_bytes()
        header = Header.unpack(data)
        packed = Header(
            FileKind.SEGMENT, header.id, other.boot_id, other.pid, start_time, other.pid_namespace
        ).pack()
        (directory / path.name).write_bytes(packed + data[len(packed) :])
        with FileLock(directory / path.name).exclusive():
            found = merged(directory)
        assert found["c"] == {key(): 5}
        assert ("u" in found) == is_alive


@pytest.fixture
def container() -> list[str]:
    """Return what runs a command in a pid namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("a pid namespace is for root only")
    wrapped = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*wrapped, "true"], check=False).returncode != 0:
        pytest.skip("a pid namespace is not to be had here")
    return wrapped


def test_two_containers_on_one_volume(container: list[str], tmp_path: Path) -> None:
    """Processes of one pid in two containers count together, see each other live, and each other's death."""
    volume = tmp_path / "volume"
    with started([*container, *command("c", volume)]) as first:
        one = Service(first)
        assert one.ask("count")[:2] == (1, 1)
        with started([*container, *command("c", volume)]) as second:
            other = Service(second)
            assert other.ask("count")[:2] == (2, 1)
            time.sleep(1.2)  # a fold of the living would be wrong
            assert one.ask("count")[0] == other.ask("look")[0] == 3
            assert len(list(volume.glob(f"*{SUFFIX}"))) == 2
            other.kill()
        wait_for(lambda: len(list(volume.glob(f"*{SUFFIX}"))) == 1)
        assert one.ask("count")[0] == 4


def test_two_services_of_one_shell(name: str) -> None:
    """Services started side by side, of one name or of two, count apart."""
    with (
        started(command(name)) as first,
        started(command(name)) as second,
        started(command(f"{name} other")) as third,
    ):
        services = [Service(each) for each in (first, second, third)]
        answers = [service.ask("count") for service in services]
        assert [answer[0] for answer in answers] == [1, 1, 1]
        assert len({answer[2] for answer in answers}) == 3
        for service in services:
            assert service.ask("end")[3] is False


def test_what_a_crash_left_goes_at_the_next_start(name: str) -> None:
    """The directory of a killed run is removed by the next run of its service, which starts at zero."""
    with started(command(name)) as first, started(command(f"{name} other")) as second:
        crashed, other = Service(first), Service(second)
        left = crashed.ask("count")[2]
        others = other.ask("count")[2]
        crashed.kill()
        other.kill()
    assert left.exists()
    with started(command(name)) as third:
        service = Service(third)
        total, _, path, _ = service.ask("count")
        assert (total, left.exists(), others.exists()) == (1, False, True)
        assert path != left
        service.ask("end")
    with started(command(f"{name} other")) as fourth:
        service = Service(fourth)
        service.ask("count")
        assert not others.exists()
        service.ask("end")


def collected(reader: InMemoryMetricReader) -> tuple[dict[str, Any], dict[str, int], Any]:
    """Return the values of a reader's points, their starts, and the instance id."""
    data: MetricsData | None = reader.get_metrics_data()
    assert data is not None
    [of_resource] = data.resource_metrics
    metrics = [metric for scope in of_resource.scope_metrics for metric in scope.metrics]
    points: dict[str, Any] = {metric.name: next(iter(metric.data.data_points)) for metric in metrics}
    return (
        {each: getattr(point, "value", getattr(point, "count", None)) for each, point in points.items()},
        {each: point.start_time_unix_nano for each, point in points.items()},
        of_resource.resource.attributes[SERVICE_INSTANCE_ID],
    )


def test_a_named_directory_goes_on(tmp_path: Path) -> None:
    """Across restarts values, start timestamps and service.instance.id of a named directory continue."""
    before: tuple[dict[str, int], Any] | None = None
    for round_ in range(1, 4):
        reader = InMemoryMetricReader()
        with provider_in(tmp_path, metric_readers=[reader], resource=Resource.create({})) as provider:
            meter = provider.get_meter("m")
            meter.create_counter("c").add(1)
            meter.create_histogram("h").record(1)
            meter.create_gauge("g").set(round_)
            values, starts, instance = collected(reader)
            assert values == {"c": round_, "h": round_, "g": round_}
            starts.pop("g")
            assert before in (None, (starts, instance))
            before = starts, instance


def test_a_named_directory_is_not_removed(name: str, tmp_path: Path) -> None:
    """What the user names stays, and is not taken for a run's."""
    directory = tmp_path / "named"
    for total in (1, 2):
        with started(command(name, directory)) as process:
            service = Service(process)
            assert service.ask("count")[0] == total
            assert service.ask("end")[3] is True
    assert merged(directory)["c"] == {key(): 2}


@pytest.mark.skipif(os.geteuid() != 0, reason="a directory is given to another user by root only")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory of another user is refused when named; one that is given away later drops, and says so."""
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 65534, 65534)
    with pytest.raises(
        DirectoryRefusedError, match=f"{foreign} is not used for metrics: it belongs to user 65534"
    ):
        MeterProvider(directory=foreign)
    assert list(foreign.iterdir()) == []
    late = tmp_path / "late"
    with provider_in(late) as provider:
        late.mkdir(mode=0o700)
        os.chown(late, 65534, 65534)
        for _ in range(3):
            provider.get_meter("m").create_counter("c").add(1)
        assert caplog.text.count("it belongs to user 65534") == 1
        assert provider.statistics().dropped_series == 3
        assert list(late.iterdir()) == []


class Clock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.offset = 0

    def time_ns(self) -> int:
        """Return the time that it shows."""
        return time.time_ns() + self.offset


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of the SDK."""
    wrong = Clock()
    monkeypatch.setattr(clock, "time_ns", wrong.time_ns)
    return wrong


HOUR = 3_600_000_000_000


@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forth"])
def test_what_is_no_longer_observed_goes_whatever_the_clock_says(
    step: int, wrong_clock: Clock, tmp_path: Path
) -> None:
    """A series that a callback gives no more is reported no more, also when the clock was set meanwhile."""
    seen = [Observation(1, {"k": "stays"}), Observation(1, {"k": "goes"})]
    with provider_in(tmp_path) as provider:
        provider.get_meter("m").create_observable_gauge("o", [lambda _: seen])
        provider.observe()
        assert scraped(provider)["o"] == {key(k="stays"): 1, key(k="goes"): 1}
        wrong_clock.offset = step
        seen.pop()
        for _ in range(2):
            provider.observe()
            assert scraped(provider)["o"] == {key(k="stays"): 1}


@pytest.mark.parametrize("step", [-HOUR, HOUR, -50 * 365 * 24 * HOUR], ids=["back", "forth", "to 1976"])
def test_clock_steps(step: int, wrong_clock: Clock, tmp_path: Path) -> None:
    """When the clock is set, counters go on, the last value of a gauge is in force, and nobody dies of it."""
    seen = [1, 2]
    with provider_in(tmp_path) as provider:
        meter = provider.get_meter("m")
        counter, histogram, gauge = (
            meter.create_counter("c"),
            meter.create_histogram("h"),
            meter.create_gauge("g"),
        )
        meter.create_observable_gauge("o", [lambda _: [Observation(seen[0], {"k": "v"})]])
        meter.create_observable_counter("oc", [lambda _: [Observation(seen[1])]])
        counter.add(1)
        histogram.record(1)
        gauge.set(1)
        provider.observe()
        before = drain(provider.merge())
        starts = {stream.name: list(stream.starts) for stream in before.streams}
        wrong_clock.offset = step
        assert provider._folder.fold() == 0
        counter.add(1)
        histogram.record(1)
        gauge.set(2)
        seen[:] = [3, 4]
        provider.observe()
        found = scraped(provider)
        assert found["c"] == {key(): 2}
        assert found["h"][key()].count == 2
        assert found["g"] == {key(): 2}
        assert found["o"] == {key(k="v"): 3}
        assert found["oc"] == {key(): 4}
        after = drain(provider.merge())
        assert starts == {stream.name: list(stream.starts) for stream in after.streams}
        assert provider.statistics().live_workers == 1
    # The next one folds the dead; what it left counts on.
    with provider_in(tmp_path) as provider:
        provider.get_meter("m").create_counter("c").add(1)
        wait_for((tmp_path / "archive").exists)
        assert scraped(provider)["c"] == {key(): 3}
        assert scraped(provider)["h"][key()].count == 2
