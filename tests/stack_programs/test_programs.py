"""The real programs: built once from what versions.toml says, kept, and missed with a reason."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

import pytest

from tests.stack_programs.test_golang import write_script
from tests.stack_programs.test_versions import VERSIONS, available
from tests.support import used
from tests.support.debian import PackageUnavailableError, cache_directory, unpack
from tests.support.stack.golang import BuildError, GoRequirement, find_go
from tests.support.stack.programs import ROOT, Programs, ProgramUnavailableError, program

MODULE = "example.test/hello"
SOURCE = "package main\n\nvar version string\n\nfunc main() { println(version) }\n"


def publish(proxy: Path, source: str) -> None:
    """Put a module with one command into a folder, in the layout of the module proxy protocol."""
    folder = proxy / MODULE / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    module_file = f"module {MODULE}\n\ngo 1.26\n"
    (folder / "list").write_text("v1.2.3\n")
    (folder / "v1.2.3.info").write_text(json.dumps({"Version": "v1.2.3"}))
    (folder / "v1.2.3.mod").write_text(module_file)
    with zipfile.ZipFile(folder / "v1.2.3.zip", "w") as archive:
        archive.writestr(f"{MODULE}@v1.2.3/go.mod", module_file)
        archive.writestr(f"{MODULE}@v1.2.3/cmd/hello/main.go", source)


class Project:
    """A project whose only program comes from a module of its own, and its cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.cache.mkdir()
        self.proxy = folder / "proxy"
        self.calls = folder / "calls"
        self.tables: dict[str, dict[str, object]] = {
            "go": dict(VERSIONS["programs"]["go"]),
            "hello": {
                "version": "1.2.3",
                "module": MODULE,
                "module_version": "v1.2.3",
                "version_variable": "main.version",
                "commands": {"hello": "./cmd/hello"},
            },
        }

    def programs(self) -> Programs:
        """Return the programs as another run of the tests sees them."""
        lines = []
        for name, table in self.tables.items():
            lines.append(f"[programs.{name}]")
            commands = table.get("commands", {})
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if key != "commands"]
            if isinstance(commands, dict):
                lines += [f"commands.{name} = {json.dumps(package)}" for name, package in commands.items()]
        (self.folder / "versions.toml").write_text("\n".join(lines))
        return Programs(self.folder, self.cache)

    def builds(self) -> int:
        """Return how often Go was asked to build."""
        return self.calls.read_text().count("build") if self.calls.exists() else 0

    def kept(self) -> list[str]:
        """Return what is in the cache, without the locks."""
        return sorted(path.name for path in self.cache.iterdir() if path.suffix != ".lock")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose module the real Go builds offline; the PATH's `go` also writes down its calls."""
    go_table = VERSIONS["programs"]["go"]
    try:
        go = find_go(GoRequirement(**go_table | {"hashes": tuple(go_table["hashes"])}), cache_directory())
    except BuildError as error:
        pytest.skip(f"go: {error}")
    made = Project(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    write_script(tools / "go", f'echo "$1" >> {made.calls}\nexec {shlex.quote(str(go))} "$@"\n')
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GOPROXY", made.proxy.as_uri())
    monkeypatch.setenv("GONOSUMDB", MODULE)
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    return made


def test_a_program_is_built_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program says the version that it was built as, and later runs use it without Go."""
    publish(project.proxy, SOURCE)
    path = project.programs().path("hello")
    said = subprocess.run([path], capture_output=True, text=True, check=True)
    assert said.stderr == "1.2.3\n"
    monkeypatch.setenv("PATH", str(project.folder / "nothing"))
    assert project.programs().path("hello") == path
    assert project.kept() == [path.parent.name]


def test_settings_for_other_builds_do_no_harm(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go's settings of the user's other work, which would break or change a build, do not reach it."""
    publish(project.proxy, SOURCE)
    for name, value in {
        "GOFLAGS": "-mod=vendor",
        "GOOS": "plan9",
        "GOROOT": str(project.folder),
        "GOTOOLCHAIN": "go1.99.0",
        "GOBIN": str(project.folder / "elsewhere"),
    }.items():
        monkeypatch.setenv(name, value)
    subprocess.run([project.programs().path("hello")], capture_output=True, check=True)
    assert not (project.folder / "elsewhere").exists()


def test_runs_at_once_build_once(project: Project) -> None:
    """Of two runs that lack a program one builds it, and the other waits and uses that."""
    publish(project.proxy, SOURCE)
    found: list[Path] = []
    runs = [project.programs() for _ in range(2)]
    threads = [threading.Thread(target=lambda run=run: found.append(run.path("hello"))) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [project.programs().path("hello")] * 2
    assert project.builds() == 1


def test_a_failing_build_leaves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that fails is reported with what the compiler said, kept nowhere, and not repeated in a run."""
    publish(project.proxy, SOURCE.replace("println(version)", "absent()"))
    programs = project.programs()
    for _ in range(2):
        with pytest.raises(ProgramUnavailableError, match=r"^hello: (?s:.*)undefined: absent"):
            programs.path("hello")
    assert project.builds() == 1
    assert project.kept() == []


def test_a_later_run_tries_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run could not download the next one may."""
    publish(project.proxy, SOURCE)
    with monkeypatch.context() as offline:
        offline.setenv("GOPROXY", "off")
        with pytest.raises(ProgramUnavailableError, match="GOPROXY=off"):
            project.programs().path("hello")
    assert project.programs().path("hello").is_file()


def test_what_an_interrupted_build_left_is_not_used(project: Project) -> None:
    """Half a build, of a run that was killed, is thrown away."""
    publish(project.proxy, SOURCE)
    programs = project.programs()
    partial = programs.folder("hello").with_name(f"{programs.folder('hello').name}.partial")
    partial.mkdir()
    (partial / "hello").write_text("half")
    assert programs.path("hello").read_bytes() != b"half"
    assert project.kept() == [programs.folder("hello").name]


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.2.4"},
        {"module": "example.test/other"},
        {"module_version": "v1.2.4"},
        {"tags": ["some"]},
        {"version_variable": ""},
        {"commands": {"hello": "./cmd/hello", "more": "./cmd/more"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_version_is_kept_elsewhere(tmp_path: Path, change: dict[str, object]) -> None:
    """Whatever decides what is built decides where it is kept."""
    project = Project(tmp_path)
    before = project.programs().folder("hello")
    assert project.programs().folder("hello") == before
    project.tables["hello"] |= change
    assert project.programs().folder("hello") != before


@pytest.mark.parametrize("file", ["builder.yaml", "go.mod", "go.sum"])
def test_another_manifest_is_kept_elsewhere(tmp_path: Path, file: str) -> None:
    """The Collector is built again where its manifest or a module's hash changes."""
    project = Project(tmp_path)
    project.tables["hello"]["manifest"] = "otel-collector/builder.yaml"
    folder = tmp_path / "otel-collector"
    folder.mkdir()
    for name in ("builder.yaml", "go.mod", "go.sum"):
        (folder / name).write_text(name)
    before = project.programs().folder("hello")
    (folder / file).write_text("changed")
    assert project.programs().folder("hello") != before


def test_without_go_and_pip(tmp_path: Path) -> None:
    """With Python alone, without even pip, the command says of each program what is needed, and returns 1."""
    python = tmp_path / "bare"
    venv.create(python, with_pip=False, symlinks=True)
    (tmp_path / "nothing").mkdir()
    ended = subprocess.run(
        [python / "bin" / "python", "-B", "-m", "tests.support.stack.programs"],
        cwd=ROOT,
        env={"PATH": str(tmp_path / "nothing"), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    unavailable = re.findall(r"^(\S+) \S+: NOT AVAILABLE: \S+ (.*?):", ended.stdout, re.MULTILINE)
    what = "needs Go 1.26.8 or newer on the PATH, or pip to install one with"
    names = list(Programs(ROOT, tmp_path).names)
    assert unavailable == [(name, what) for name in names]


def test_without_a_place_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache's folder cannot be made, programs and packages are unavailable, and say why."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ProgramUnavailableError, match=str(tmp_path / "file")):
        Programs(ROOT, cache_directory()).path("promtool")
    with pytest.raises(PackageUnavailableError, match=str(tmp_path / "file")):
        unpack("tcsh")


def test_the_command_says_where_each_program_is() -> None:
    """`make stack` prints a line for each program, and each program says the version on it."""
    names = Programs(ROOT, cache_directory()).names
    for name in names:
        available(name)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.stack.programs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(line.split(": ") for line in ended.stdout.splitlines())
    assert [label.split()[0] for label in lines] == names
    for label, path in lines.items():
        name, version = label.split()
        assert Path(path) == program(name)
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        assert re.search(rf"(^|\s){re.escape(version)}(\s|$)", said.stdout + said.stderr)
    version = VERSIONS["programs"]["prometheus"]["version"]
    assert any(line.startswith(f"promtool: promtool, version {version} ") for line in used.programs)
