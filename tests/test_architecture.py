"""The rooms of the house and the one direction of data, read from the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for room in ("app", "telemetry", "grafana") for path in ROOT.glob(f"{room}/**/*.py"))
LONGEST_FILE_LINES = 320
LONGER = {"app/compliance/shell.py"}  # one visitor over one grammar; halves would only call each other

ABOVE = ("app.api", "app.backend", "app.main", "app.cli", "fastapi", "starlette")


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def importing(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    """Return what the files of a folder import below forbidden modules."""
    return sorted(
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        if path.relative_to(ROOT).as_posix().startswith(folder)
        for name in imported(path)
        if any(name == each or name.startswith(f"{each}.") for each in forbidden)
    )


def test_sources_are_found() -> None:
    """The checks below see the sources."""
    assert len(SOURCES) > 30


def test_telemetry_knows_nothing_of_the_backend() -> None:
    """Nothing in telemetry imports app."""
    assert importing("telemetry/", ("app",)) == []


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("app/compliance/", (*ABOVE, "app.execution", "app.planners", "app.runners", "app.store")),
        ("app/planners/", (*ABOVE, "app.execution", "app.runners", "app.store")),
        ("app/runners/", (*ABOVE, "app.execution", "app.planners", "app.compliance", "app.store")),
        ("app/store/", (*ABOVE, "app.execution", "app.planners", "app.compliance", "app.runners")),
        ("app/execution/", ABOVE),
        ("app/api/", ("app.main", "app.cli", "sqlalchemy")),
        ("app/fetching", ("app",)),
        ("app/console/", ("app.api", "app.main", "app.cli", "app.execution", "app.planners", "app.store")),
    ],
)
def test_layers(folder: str, forbidden: tuple[str, ...]) -> None:
    """A layer imports only what lies below it."""
    assert importing(folder, forbidden) == []


@pytest.mark.parametrize("folder", ["app/demo/", "app/doctor/", "app/top/"])
def test_commands_ask_a_backend_from_outside(folder: str) -> None:
    """Demo, doctor and top know a backend by its address alone, as anyone else does."""
    theirs = ("app.commands.errors", "app.fetching", folder.replace("/", ".").rstrip("."))
    others = [each for each in importing(folder, ("app",)) if not each.split(": ")[1].startswith(theirs)]
    assert [each for each in others if not (folder == "app/demo/" and ": app.top." in each)] == []


@pytest.mark.parametrize(
    "folder", ["app/execution/", "app/planners/", "app/compliance/", "app/runners/", "app/store/"]
)
def test_the_work_contains_no_telemetry_call(folder: str) -> None:
    """Of telemetry, engine, planners, runners, healing, compliance and store know the label values only."""
    assert [
        name for name in importing(folder, ("telemetry", "opentelemetry")) if "telemetry.labels" not in name
    ] == []


def test_recording_uses_the_api_only() -> None:
    """Only our SDK, the exposition, and the pipeline's composition touch the OpenTelemetry SDK."""
    users = {name.split(":")[0] for name in importing("", ("opentelemetry.sdk", "opentelemetry.exporter"))}
    users = {user for user in users if not user.startswith(("telemetry/sdk/", "telemetry/exposition/"))}
    assert users <= {
        f"telemetry/{name}.py"
        for name in ("pipeline", "providers", "readers", "official", "watching", "exemplars")
    }


def test_dashboards_come_from_the_catalogue() -> None:
    """What makes the dashboards knows of the pipeline its names, and nothing of the backend."""
    allowed = ("catalogue", "labels", "watching")
    rest = tuple(f"telemetry.{path.stem}" for path in ROOT.glob("telemetry/*.py") if path.stem not in allowed)
    assert importing("grafana/", ("app", "telemetry.sdk", "telemetry.exposition", *rest)) == []


def test_the_sdk_could_be_a_package_of_its_own() -> None:
    """The SDK imports nothing of this project but itself, the exposition nothing but the SDK and itself."""
    rest = tuple(f"telemetry.{path.stem}" for path in ROOT.glob("telemetry/*.py") if path.stem != "__init__")
    assert importing("telemetry/sdk/", (*rest, "telemetry.exposition", "app")) == []
    assert importing("telemetry/exposition/", (*rest, "app")) == []


def test_the_core_does_without_web_frameworks() -> None:
    """Neither the SDK nor the endpoint needs FastAPI, Starlette or prometheus_client."""
    assert importing("telemetry/sdk/", ("fastapi", "starlette", "prometheus_client", "uvicorn")) == []
    assert importing("telemetry/exposition/", ("fastapi", "starlette", "prometheus_client")) == []


def test_files_have_one_subject() -> None:
    """No source file has grown past the length at which it usually has two subjects."""
    long = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE_LINES
    }
    assert long == LONGER
