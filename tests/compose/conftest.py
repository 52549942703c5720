"""The services of docker-compose.yml, running on a machine of their own for all tests of this folder."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.build import build
from tests.compose.definition import ROOT, services
from tests.compose.machine import IMAGES, Container, Machine
from tests.support import debian
from tests.support.stack.programs import ProgramUnavailableError

# What docs/deployment.md has people write into .env for the Collector.
CHOSEN = {"OTEL_METRICS_EXPORTER": "prometheus,otlp"}


@pytest.fixture(scope="package")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which the script has made the secrets."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    folder.mkdir()
    shutil.copyfile(ROOT / "secrets/make", folder / "make")
    subprocess.run(["sh", str(folder / "make")], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="package")
def machine(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Iterator[Machine]:
    """Give the machine, on which nothing runs yet."""
    missing = [name for name in ("curl", "nsenter", "setpriv", "unshare") if not shutil.which(name)]
    if os.geteuid() != 0:
        pytest.skip("the services of docker-compose.yml: their users and mounts need root")
    if missing:
        pytest.skip(f"the services of docker-compose.yml: {', '.join(missing)} needed")
    if subprocess.run(["unshare", "--mount", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("the services of docker-compose.yml: this machine makes no namespaces")
    # The quarter of a minute between scrapes would be the longest wait of all.
    name = "./prometheus/prometheus.yml"
    faster = tmp_path_factory.mktemp("faster") / "prometheus.yml"
    config = (ROOT / name).read_text(encoding="utf-8")
    faster.write_text(re.sub(r"scrape_(interval|timeout): \d+s", r"scrape_\1: 1s", config), encoding="utf-8")
    with Machine(tmp_path_factory.mktemp("machine"), secrets, {name: faster}) as machine:
        yield machine


@pytest.fixture(scope="package")
def backend(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Container:
    """Give the backend, built from the Dockerfile, once it is ready."""
    image, layer = build(machine, tmp_path_factory.mktemp("image"))
    service = services()["backend"]
    # Likewise the minute between exports.
    environment = service.environment(CHOSEN) | {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    container = machine.start(service, image, environment, layer)
    machine.wait_for("http://backend:8000/readyz", container)
    return container


@pytest.fixture(scope="package")
def stack(machine: Machine, backend: Container) -> dict[str, Container]:
    """Give all services whose programs can be had here, ready, by name."""
    running = {"backend": backend}
    try:
        for name, ready in (
            ("collector-init", ""),
            ("victoriametrics", "http://victoriametrics:8428/health"),
            ("otel-collector", "http://otel-collector:13133/"),
            ("alertmanager", "http://alertmanager:9093/-/ready"),
            ("prometheus", "http://prometheus:9090/-/ready"),
        ):
            service = services()[name]
            running[name] = machine.start(service, IMAGES[name], service.environment(CHOSEN))
            if ready:
                machine.wait_for(ready, running[name])
            else:
                assert running[name].process.wait(timeout=30) == 0, running[name].log
    except (ProgramUnavailableError, debian.PackageUnavailableError) as error:
        pytest.skip(str(error))
    return running
