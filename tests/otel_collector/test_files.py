"""What holds for the files themselves: they load in every combination, and the documentation names them."""

import itertools
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.otel_collector.certificate import make_certificate
from tests.otel_collector.deployment import BASE, FILES, FOLDER, FRAGMENTS, LISTEN, TLS, loaded
from tests.support.backend import environment_of_tests
from tests.support.stack.programs import program

DOCUMENTATION = FOLDER.parent / "docs" / "collector.md"
ADDRESSES = {
    "COLLECTOR_FILE": "out.json",
    "OTLP_GRPC_ENDPOINT": "dns:///gateways.example.com:4317",
    "OTLP_HTTP_ENDPOINT": "https://metrics.example.com/otlp",
    "REMOTE_WRITE_ENDPOINT": "https://metrics.example.com/api/v1/push",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which every file has what it needs."""
    folder = tmp_path_factory.mktemp("files")
    made = make_certificate(folder)
    (folder / "token").write_text("a-token")
    return (
        environment_of_tests()
        | ADDRESSES
        | {
            "COLLECTOR_STORAGE": str(folder),
            "COLLECTOR_TLS_CERT_FILE": str(made.certificate),
            "COLLECTOR_TLS_KEY_FILE": str(made.key),
            "COLLECTOR_TOKEN_FILE": str(folder / "token"),
        }
    )


def complaint(options: Sequence[str], environment: dict[str, str]) -> str:
    """Return what the Collector finds wrong with the configurations, whose paths are relative to theirs."""
    ended = subprocess.run(
        [program("otelcol"), "validate", *options],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return f"{options}: {ended.stdout}{ended.stderr}" if ended.returncode or ended.stderr else ""


def test_every_combination_is_valid(environment: dict[str, str]) -> None:
    """The Collector finds nothing wrong with any choice of back ends, with and without the overlays."""

    choices = [
        chosen
        for size in range(1, len(FRAGMENTS) + 1)
        for chosen in itertools.combinations(FRAGMENTS.values(), size)
    ]
    combinations = [
        [f"--config={file}" for file in (*base, *chosen)]
        for base in ((BASE,), (BASE, LISTEN), (BASE, LISTEN, TLS))
        for chosen in choices
    ]
    assert 3 * (2 ** len(FRAGMENTS) - 1) == len(combinations)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda options: complaint(options, environment), combinations)
        assert [text for text in found if text] == []


def test_the_documented_commands_are_valid(environment: dict[str, str]) -> None:
    """Every command that docs/collector.md shows names files that go together."""
    commands = re.findall(r"^otelcol (?:validate )?(.+)$", DOCUMENTATION.read_text(), re.MULTILINE)
    assert commands
    assert [text for command in commands if (text := complaint(command.split(), environment))] == []


@pytest.mark.parametrize(
    ("fragment", "variable"),
    [
        ("file", "COLLECTOR_FILE"),
        ("otlp-grpc", "OTLP_GRPC_ENDPOINT"),
        ("otlp-http", "OTLP_HTTP_ENDPOINT"),
        ("prometheus-remote-write", "REMOTE_WRITE_ENDPOINT"),
    ],
)
def test_a_back_end_without_its_address_does_not_start(
    fragment: str, variable: str, environment: dict[str, str]
) -> None:
    """A fragment whose address is not set ends the start, instead of sending to nowhere."""
    ended = subprocess.run(
        [program("otelcol"), f"--config={BASE}", f"--config={FRAGMENTS[fragment]}"],
        env={name: value for name, value in environment.items() if name != variable},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr


def test_every_fragment_brings_one_pipeline_of_its_own() -> None:
    """Each fragment's pipeline bears its name, limits memory first, and sends to its one exporter."""
    for name, path in FRAGMENTS.items():
        content = loaded(path)
        (exporter,) = content["exporters"]
        pipeline = {
            "receivers": ["otlp"],
            "processors": ["memory_limiter", "resource"],
            "exporters": [exporter],
        }
        assert {"pipelines": {f"metrics/{name}": pipeline}} == content["service"]


def test_no_two_fragments_share_an_exporter() -> None:
    """Any two fragments can be listed together without one changing the other's exporter."""
    exporters = [exporter for path in FRAGMENTS.values() for exporter in loaded(path)["exporters"]]
    assert sorted(set(exporters)) == sorted(exporters)


def test_every_exporter_to_a_network_keeps_its_queue_on_disk_and_never_gives_up() -> None:
    """OTLP exporters share one queue configuration; each exporter to a network retries without an end."""
    settings = {
        name: exporter
        for path in FRAGMENTS.values()
        for name, exporter in loaded(path)["exporters"].items()
        if name not in ("debug", "file")
    }
    assert {0} == {exporter["retry_on_failure"]["max_elapsed_time"] for exporter in settings.values()}
    remote_write = settings.pop("prometheus_remote_write")
    assert remote_write["wal"]["directory"].endswith("/remote_write")
    first, *others = (exporter["sending_queue"] for exporter in settings.values())
    assert first["storage"] == "file_storage"
    assert [first] * len(others) == others


def test_the_documentation_names_every_file_and_variable() -> None:
    """The tables of docs/collector.md are the files and the variables, with their defaults, and no others."""
    assert sorted(FILES) == sorted(set(FOLDER.rglob("*.yaml")) - {FOLDER / "builder.yaml"})
    found: dict[str, set[str]] = {}
    for path in FILES:
        for name, default in re.findall(r"\$\{env:(\w+)(?::-([^}]*))?\}", path.read_text()):
            found.setdefault(name, set()).add(default)
    assert all(len(defaults) == 1 for defaults in found.values()), found
    text = DOCUMENTATION.read_text()
    table = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`|none) \|", text, re.MULTILINE)
    assert {name: defaults.pop() for name, defaults in found.items()} == dict(table)
    rows = re.findall(r"^\| `((?:exporters/)?[\w-]+\.yaml)` \|", text, re.MULTILINE)
    assert sorted(str(path.relative_to(FOLDER)) for path in FILES) == sorted(rows)
