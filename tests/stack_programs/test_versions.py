"""The versions: one place for all, and the Collector's manifest in agreement with it and with contrib's."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.stack.programs import ROOT, ProgramUnavailableError, program

VERSIONS = tomllib.loads((ROOT / "versions.toml").read_text(encoding="utf-8"))
COLLECTOR = ROOT / "otel-collector"
CORE = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"

# Components that the contrib distribution of this version has, as far as they matter here. Source: each
# module's metadata.yaml at that version, whose `distributions` names contrib. All are also in the newest
# manifest of it that could be read, that of 0.136.0: distributions/otelcol-contrib/manifest.yaml in
# open-telemetry/opentelemetry-collector-releases.
READ_AT = "0.165.0"
IN_CONTRIB = {
    f"{CORE}/confmap/provider/envprovider",
    f"{CORE}/confmap/provider/fileprovider",
    f"{CORE}/confmap/provider/yamlprovider",
    f"{CORE}/exporter/debugexporter",
    f"{CORE}/exporter/otlpexporter",
    f"{CORE}/exporter/otlphttpexporter",
    f"{CORE}/extension/zpagesextension",
    f"{CORE}/processor/memorylimiterprocessor",
    f"{CORE}/receiver/otlpreceiver",
    f"{CONTRIB}/exporter/fileexporter",
    f"{CONTRIB}/exporter/prometheusremotewriteexporter",
    f"{CONTRIB}/extension/bearertokenauthextension",
    f"{CONTRIB}/extension/healthcheckextension",
    f"{CONTRIB}/extension/storage/filestorage",
    f"{CONTRIB}/processor/resourceprocessor",
}


def components() -> dict[str, str]:
    """Return the modules that the manifest names, with their versions."""
    manifest = yaml.safe_load((COLLECTOR / "builder.yaml").read_text(encoding="utf-8"))
    named = [entry["gomod"] for key, part in manifest.items() if key != "dist" for entry in part]
    return dict(line.split() for line in named)


def available(name: str) -> Path:
    """Return a program's path; skip the test where it cannot be had."""
    try:
        return program(name)
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


def test_every_component_is_in_contrib() -> None:
    """The stock contrib image of this version has every component that the manifest names."""
    assert VERSIONS["programs"]["collector"]["version"] == READ_AT
    assert components().keys() <= IN_CONTRIB


def test_the_manifest_is_of_the_version() -> None:
    """The manifest has one version of the Collector, that of versions.toml."""
    version = VERSIONS["programs"]["collector"]["version"]
    manifest = yaml.safe_load((COLLECTOR / "builder.yaml").read_text(encoding="utf-8"))
    assert manifest["dist"]["version"] == version
    assert VERSIONS["programs"]["collector"]["module_version"] == f"v{version}"
    assert {
        found for module, found in components().items() if not module.startswith(f"{CORE}/confmap/provider/")
    } == {f"v{version}"}


def test_the_pins_agree_with_the_manifest() -> None:
    """go.mod requires each of the manifest's modules directly in its version, and go.sum has its hash."""
    required = dict(
        line.split()
        for line in re.findall(r"^\t(\S+ v\S+)$", (COLLECTOR / "go.mod").read_text(), re.MULTILINE)
    )
    hashed = {tuple(line.split()[:2]) for line in (COLLECTOR / "go.sum").read_text().splitlines()}
    assert components().items() <= required.items()
    assert components().items() <= hashed


def test_the_pins_are_made_for_the_version() -> None:
    """The commands that make go.mod and go.sum anew are written down for the version that is built."""
    text = (ROOT / "docs/decisions/0008-real-programs-built-from-modules.md").read_text(encoding="utf-8")
    version = VERSIONS["programs"]["collector"]["module_version"]
    assert re.findall(r"@(v\S+)", text) == [version, version]


def test_the_collector_has_what_the_manifest_names() -> None:
    """The built Collector lists the manifest's modules in their versions, and no other."""
    listed = subprocess.run(
        [available("otelcol"), "components"], capture_output=True, text=True, check=True, timeout=60
    )
    assert dict(re.findall(r"module: (\S+) (\S+)", listed.stdout)) == components()


@pytest.mark.parametrize(
    ("image", "name", "prefix"),
    [
        ("prometheus", "prometheus", "v"),
        ("alertmanager", "alertmanager", "v"),
        ("victoriametrics", "victoriametrics", "v"),
        ("otel-collector-contrib", "collector", ""),
    ],
)
def test_what_is_deployed_is_what_is_tested(image: str, name: str, prefix: str) -> None:
    """An image has the version of the program that the tests run."""
    assert VERSIONS["images"][image]["tag"] == prefix + VERSIONS["programs"][name]["version"]


def test_images_are_pinned() -> None:
    """Each image has a tag that names a version, and a digest is a whole one."""
    for image in VERSIONS["images"].values():
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z-]+)?", image["tag"])
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", image.get("digest", f"sha256:{'0' * 64}"))
