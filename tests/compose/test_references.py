"""docker-compose.yml against the files and programs that it names."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import opentelemetry.sdk.environment_variables as standard
import pytest
import yaml

from app.settings import Settings
from app.store.address import parse_address
from telemetry.settings import TelemetrySettings
from tests.compose.definition import ROOT, definition, images, services
from tests.compose.dockerfile import is_ignored, stages

IMAGE_OF = {
    "collector-init": "prometheus",
    "otel-collector": "otel-collector-contrib",
}


class Asked(Mapping[str, str]):
    """An empty environment that remembers which variables it was asked for."""

    def __init__(self) -> None:
        self.keys_asked: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.keys_asked.add(key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def yaml_files(folder: str) -> list[Any]:
    """Return what the YAML files below a folder say."""
    paths = sorted((ROOT / folder).rglob("*.y*ml"))
    assert paths
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]


@pytest.mark.parametrize("name", sorted(services()))
def test_mounted_paths_exist(name: str) -> None:
    """Every file and folder that is mounted is in the repository, or made with the secrets."""
    for mount in services()[name].mounts:
        if not mount.is_volume and mount.source != "./secrets/ssh":
            assert (ROOT / mount.source).exists(), mount


def test_no_mount_inside_a_read_only_one() -> None:
    """Nothing is mounted below a folder of the checkout: Docker could not make the place for it there."""
    for service in services().values():
        folders = [mount.target for mount in service.mounts if mount.read_only]
        targets = [mount.target for mount in service.mounts] + list(service.secrets)
        assert [target for target in targets for folder in folders if target.startswith(f"{folder}/")] == []


@pytest.mark.parametrize("name", sorted(services().keys() - {"backend"}))
def test_images(name: str) -> None:
    """Every image is the one of versions.toml, with its digest where that has one, and never `latest`."""
    image = services()[name].raw["image"]
    assert images()[IMAGE_OF.get(name, name)] == image
    assert re.search(r":[v0-9][^@]*\d", image)


def test_base_image() -> None:
    """Every stage of the Dockerfile is made from the Python of versions.toml."""
    for stage in stages():
        assert images()["python"] == stage[0].text.partition(" AS ")[0]


def test_image_and_service_agree() -> None:
    """The image's user, port, data folder and stop signal are the service's; no shell is between."""
    last = {step.name: step for step in stages()[-1]}
    service = services()["backend"]
    assert last["USER"].text == service.raw["user"]
    assert [last["EXPOSE"].text] == [port[2] for port in service.ports]
    assert (
        last["ENV"].pairs()["AOSS_DATA_DIR"] == service.environment()["AOSS_DATA_DIR"] == last["WORKDIR"].text
    )
    assert (last["STOPSIGNAL"].text, service.command) == ("SIGTERM", [])
    assert [last["ENTRYPOINT"].text, last["CMD"].text] == ['["aoss"]', '["serve"]']


def test_variables_of_the_backend() -> None:
    """The backend reads every variable that it is given."""
    asked = Asked()
    Settings.from_environment(asked)
    TelemetrySettings.from_environment(asked)
    known = asked.keys_asked | {value for value in vars(standard).values() if isinstance(value, str)}
    last = {
        key for step in stages()[-1] if step.name == "ENV" for key in step.pairs() if key.startswith("AOSS_")
    }
    assert set() == (set(services()["backend"].environment()) | last) - known


@pytest.mark.parametrize("path", ["", "/run/secrets/aoss_database_url"])
def test_values_of_the_backend(path: str, secrets: Path) -> None:
    """The backend accepts every value that it is given, with SQLite and with PostgreSQL."""
    service = services()["backend"]
    environment = service.environment({"AOSS_DATABASE_URL_FILE": path})
    here = {
        key: str(secrets / service.secrets[value]) if value.startswith("/run/secrets/") else value
        for key, value in environment.items()
    }
    settings, telemetry = Settings.from_environment(here), TelemetrySettings.from_environment(here)
    assert telemetry.warnings == ()
    assert (settings.host, settings.workers, settings.local_runner) == ("0.0.0.0", 2, False)  # noqa: S104 - in a container
    assert (secrets / "aoss_api_key").read_text().strip() == settings.api_key
    assert bool(path) == settings.database_url.startswith("postgresql://")


def test_database(secrets: Path) -> None:
    """The backend's address of the database is that of PostgreSQL's service, user, password and database."""
    url = parse_address((secrets / "aoss_database_url").read_text().strip())
    given = services()["postgres"].environment()
    assert (url.host, url.port) == ("postgres", 5432)
    assert (given["POSTGRES_USER"], given["POSTGRES_DB"]) == (url.username, url.database)
    assert (secrets / "postgres_password").read_text().strip() == url.password


def test_secrets_in_variables() -> None:
    """Every secret that a variable names is mounted there, and every one that is mounted is declared."""
    for service in services().values():
        for key, value in service.environment(
            {"AOSS_DATABASE_URL_FILE": "/run/secrets/aoss_database_url"}
        ).items():
            if value.startswith("/run/secrets/"):
                assert value in service.secrets, key
            assert not re.search(r"(PASSWORD|TOKEN|KEY|SECRET)$", key), f"{key} belongs into a file"
    mounted = {name for service in services().values() for name in service.secrets.values()}
    assert set(definition()["secrets"]) == mounted


def test_hosts() -> None:
    """Every host that a service's files and variables name is a service on one of its networks."""
    prometheus = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    named = [
        ("prometheus", target)
        for entry in prometheus["scrape_configs"] + prometheus["alerting"]["alertmanagers"]
        for static in entry["static_configs"]
        for target in static["targets"]
    ]
    for file in yaml_files("grafana/provisioning/datasources"):
        named += [("grafana", urlsplit(source["url"]).netloc) for source in file["datasources"]]
    for service in services().values():
        addresses = [value for value in service.environment().values() if value.startswith("http")]
        named += [(service.name, urlsplit(address).netloc) for address in addresses]
    found = {(asking, host) for asking, host in named if not host.startswith("localhost:")}
    assert {
        ("prometheus", "backend:8000"),
        ("prometheus", "otel-collector:8888"),
        ("prometheus", "alertmanager:9093"),
        ("grafana", "prometheus:9090"),
        ("backend", "otel-collector:4318"),
        ("otel-collector", "victoriametrics:8428"),
    } == found
    for asking, host in found:
        assert set(services()[asking].networks) & set(services()[host.partition(":")[0]].networks), (
            asking,
            host,
        )


def test_variables_of_the_collector() -> None:
    """The Collector is given what its files need, and nothing that they do not read."""
    text = ""
    for argument in services()["otel-collector"].command:
        path = argument.removeprefix("--config=/etc/otelcol/")
        text += (ROOT / "otel-collector" / path).read_text(encoding="utf-8")
    needed = set(re.findall(r"\$\{env:(\w+)\}", text))
    read = needed | set(re.findall(r"\$\{env:(\w+):-", text))
    given = set(services()["otel-collector"].environment())
    assert needed <= given <= read | {"GOMEMLIMIT"}


def test_provisioning_of_grafana() -> None:
    """Grafana is given the variables of its provisioning files, and finds the dashboards where they say."""
    folder = ROOT / "grafana/provisioning"
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.yaml")))
    without_comments = re.sub(r"(?m)(^|\s)#.*$", "", text).replace("$$", "")
    given = {key for key in services()["grafana"].environment() if not key.startswith("GF_")}
    assert given == set(re.findall(r"\$\{(\w+)\}", without_comments))
    targets = {mount.target: mount.source for mount in services()["grafana"].mounts}
    (path,) = [
        provider["options"]["path"]
        for file in yaml_files("grafana/provisioning/dashboards")
        for provider in file["providers"]
    ]
    assert targets[path] == "./grafana/dashboards"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("app/cli.py", True),
        ("telemetry/sdk/FORMAT.md", True),
        ("app/compliance/compliance_rules.yaml", True),
        ("requirements.lock", True),
        (".git/config", False),
        (".venv/bin/python", False),
        (".env", False),
        ("secrets/aoss_api_key", False),
        ("tests/conftest.py", False),
        ("app/__pycache__/cli.cpython-311.pyc", False),
    ],
)
def test_dockerignore(path: str, sent: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Docker is sent what the image is made of, and no secret, no history and no tests."""
    assert sent != is_ignored(path)
