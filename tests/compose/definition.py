"""docker-compose.yml and versions.toml as the tests read them."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


class Mount(NamedTuple):
    """What a container sees at `target`: a path of the host, or a volume."""

    source: str
    target: str
    read_only: bool

    @property
    def is_volume(self) -> bool:
        """Return whether the source is a named volume."""
        return not self.source.startswith(("./", "/"))


class Service:
    """One service; `raw` is its part of the file, merged."""

    def __init__(self, name: str, raw: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
        self.name = name
        self.raw = raw
        self.profiles: list[str] = raw.get("profiles", [])
        self.command: list[str] = raw.get("command", [])
        self.networks: list[str] = raw.get("networks", [])
        self.dependencies: dict[str, Any] = raw.get("depends_on", {})
        self.mounts = [Mount(source, target, mode == "ro") for source, target, mode in _volumes(raw)]
        self.secrets = {
            target: Path(secrets[name]["file"]).name for name, target in map(_secret, raw.get("secrets", []))
        }
        # Host address, host port, container port.
        self.ports = [tuple(port.split(":")) for port in raw.get("ports", [])]

    def secret_mounts(self) -> list[Mount]:
        """Return the secrets as what Compose makes of them: files mounted read-only."""
        return [Mount(f"./secrets/{name}", target, read_only=True) for target, name in self.secrets.items()]

    def environment(self, values: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the container's variables where Compose itself is given `values`."""
        given = values or {}
        return {
            key: _VARIABLE.sub(lambda found: given.get(found[1]) or found[2], value)
            for key, value in self.raw.get("environment", {}).items()
        }


@cache
def definition() -> dict[str, Any]:
    """Return docker-compose.yml with its merge keys resolved."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return parsed


@cache
def services() -> dict[str, Service]:
    """Return the services by name."""
    whole = definition()
    return {name: Service(name, raw, whole["secrets"]) for name, raw in whole["services"].items()}


@cache
def images() -> dict[str, str]:
    """Return the images of versions.toml as Docker writes them, by their names there."""
    with (ROOT / "versions.toml").open("rb") as file:
        tables = tomllib.load(file)["images"]
    return {
        name: f"{table['repository']}:{table['tag']}" + (f"@{table['digest']}" if "digest" in table else "")
        for name, table in tables.items()
    }


def _volumes(raw: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    parts = [volume.split(":") for volume in raw.get("volumes", [])]
    return [(part[0], part[1], part[2] if len(part) == 3 else "rw") for part in parts]


def _secret(given: Any) -> tuple[str, str]:
    if isinstance(given, str):
        return given, f"/run/secrets/{given}"
    return given["source"], given["target"]
