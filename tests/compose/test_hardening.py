"""What every service of docker-compose.yml is held to."""

import math
import re

import pytest

from app.backend import FLUSH_SECONDS
from app.commands.serve import GRACE_SECONDS
from app.main import EXPORT_SECONDS
from app.settings import Settings
from tests.compose.definition import definition, services

SERVICES = sorted(services())
# The Collector's image has nothing that could ask, and the other one ends at once.
WITHOUT_HEALTH_CHECK = {"otel-collector", "collector-init"}


@pytest.mark.parametrize("name", SERVICES)
def test_confined(name: str) -> None:
    """A service has a read-only root, no capability, no way to gain one, and limits."""
    raw = services()[name].raw
    assert raw["read_only"] is True
    assert raw["cap_drop"] == ["ALL"]
    assert ([] if name != "collector-init" else ["CHOWN"]) == raw.get("cap_add", [])
    assert "no-new-privileges:true" in raw["security_opt"]
    assert re.fullmatch(r"\d+[mg]", raw["mem_limit"])
    assert 0 < raw["cpus"] <= 2
    assert 0 < raw["pids_limit"] <= 512
    assert {"max-size", "max-file"} <= set(raw["logging"]["options"])
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(raw)


def test_grafana_installs_no_plugins() -> None:
    """On its read-only root Grafana leaves its bundled plugins as they are: updating them breaks them."""
    assert services()["grafana"].raw["read_only"] is True
    assert services()["grafana"].environment()["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"


@pytest.mark.parametrize("name", SERVICES)
def test_user(name: str) -> None:
    """A service runs as a user given by number, which is root only where volumes are handed over, offline."""
    user = services()[name].raw["user"]
    assert re.fullmatch(r"\d+:\d+", user)
    assert (name == "collector-init") == user.startswith("0:")
    assert (name == "collector-init") == (services()[name].raw.get("network_mode") == "none")


@pytest.mark.parametrize("name", SERVICES)
def test_restarts_and_health(name: str) -> None:
    """A service that stays is started again after a crash and says whether it is well."""
    raw = services()[name].raw
    assert ("no" if name == "collector-init" else "unless-stopped") == raw["restart"]
    assert (name in WITHOUT_HEALTH_CHECK) == ("healthcheck" not in raw)


@pytest.mark.parametrize("name", SERVICES)
def test_loopback(name: str) -> None:
    """Ports are published on 127.0.0.1, under their own number; those of PostgreSQL not at all."""
    ports = services()[name].ports
    assert [port for port in ports if (port[0], port[1]) != ("127.0.0.1", port[2])] == []
    assert (name in {"postgres", "collector-init"}) == (not ports)


@pytest.mark.parametrize("name", SERVICES)
def test_mounts(name: str) -> None:
    """What is mounted from the checkout cannot be written, and the Docker socket is no one's."""
    for mount in services()[name].mounts:
        assert mount.is_volume or mount.read_only, mount
        assert "docker.sock" not in mount.source


def test_writable_places_are_bounded() -> None:
    """Every tmpfs has a size, and all of a service's together fit into its memory."""
    for service in services().values():
        sizes = [
            _mebibytes(entry.partition("size=")[2].split(",")[0]) for entry in service.raw.get("tmpfs", [])
        ]
        shared = _mebibytes(service.raw.get("shm_size", "64m"))
        assert sum(sizes) + shared < _mebibytes(service.raw["mem_limit"]) or service.name == "collector-init"


def test_stop_grace_period() -> None:
    """The backend is given longer than its drain, its streams' ends, its last flush and export can take."""
    raw = services()["backend"].raw
    environment = services()["backend"].environment()
    plain = {key: value for key, value in environment.items() if not key.endswith("_FILE")}
    drain = math.ceil(Settings.from_environment(plain).drain_seconds)
    needed = drain + GRACE_SECONDS + FLUSH_SECONDS + EXPORT_SECONDS
    assert needed + 10 <= int(raw["stop_grace_period"].removesuffix("s"))


def test_collector_memory() -> None:
    """The Collector's soft limit is four fifths of its memory."""
    service = services()["otel-collector"]
    assert f"{int(_mebibytes(service.raw['mem_limit']) * 0.8) + 1}MiB" == service.environment()["GOMEMLIMIT"]


def test_networks() -> None:
    """Grafana meets Prometheus alone, PostgreSQL the backend alone, on a network without a way out."""
    assert {"prometheus"} == _neighbours("grafana")
    assert {"backend"} == _neighbours("postgres")
    assert {name: network for name, network in definition()["networks"].items() if network} == {
        "database": {"internal": True}
    }


def test_dependencies() -> None:
    """No service needs one of a profile that may be off: the backend least of all the Collector."""
    for service in services().values():
        for name, condition in service.dependencies.items():
            other = services()[name]
            assert not condition.get("required", True) or set(other.profiles) <= set(service.profiles)
            healthy = condition["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in other.raw)
    assert {"postgres"} == set(services()["backend"].dependencies)


def _neighbours(name: str) -> set[str]:
    own = set(services()[name].networks)
    return {other for other, service in services().items() if own & set(service.networks)} - {name}


def _mebibytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]
