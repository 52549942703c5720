"""The stack's real programs in the versions of versions.toml, built from their Go modules, kept in a cache.

`python -m tests.support.stack.programs` builds what is missing and says where each program is; `make stack`
calls it. With empty caches that is some five minutes on two cores, more than a test may take. It downloads
the modules (2.3 GB in Go's own cache, and 1.9 GB of build results) and, where the PATH has no Go that is new
enough, Go itself. A step of a build may take 15 minutes. The programs are 220 MB.
"""

import functools
import hashlib
import json
import platform
import shutil
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support import used
from tests.support.debian import cache_directory
from tests.support.stack.golang import (
    GOFLAGS,
    BuildError,
    GoRequirement,
    build_environment,
    find_go,
    made_once,
    run,
)

ROOT = Path(__file__).resolve().parents[3]
LDFLAGS = "-s -w"


class ProgramUnavailableError(Exception):
    """Say which program could not be had, and why."""


@dataclass(frozen=True)
class Source:
    """What one build makes its programs from: a table of versions.toml.

    `commands` are packages of the module by the names of their programs. With a `manifest` the module is the
    Collector's builder, and the manifest says what to build.
    """

    version: str
    module: str
    module_version: str
    commands: dict[str, str]
    tags: tuple[str, ...] = ()
    version_variable: str = ""
    manifest: str = ""

    @property
    def programs(self) -> list[str]:
        """Return the names of the programs that it makes."""
        return list(self.commands)


class Programs:
    """The programs of a project's versions.toml, kept in a cache."""

    def __init__(self, project: Path, cache: Path) -> None:
        self._project = project
        self._cache = cache
        with (project / "versions.toml").open("rb") as file:
            tables = tomllib.load(file)["programs"]
        go = tables.pop("go")
        self._go = GoRequirement(**go | {"hashes": tuple(go["hashes"])})
        self.sources: dict[str, Source] = {
            name: Source(**table | {"tags": tuple(table.get("tags", ()))}) for name, table in tables.items()
        }
        self._failures: dict[str, BuildError | OSError] = {}

    @property
    def names(self) -> list[str]:
        """Return the programs' names."""
        return [program for source in self.sources.values() for program in source.programs]

    def path(self, name: str) -> Path:
        """Return a program's path, building it where it is missing.

        A build that failed is not tried again by this object. Raises ProgramUnavailableError.
        """
        table = self._table(name)
        if table in self._failures:
            raise ProgramUnavailableError(f"{name}: {self._failures[table]}")
        folder = self.folder(table)
        try:
            with made_once(folder) as partial:
                if partial:
                    self._build(self.sources[table], partial)
        except (BuildError, OSError) as error:
            self._failures[table] = error
            raise ProgramUnavailableError(f"{name}: {error}") from error
        return folder / name

    def version(self, name: str) -> str:
        """Return the version of a program."""
        return self.sources[self._table(name)].version

    def is_cached(self, name: str) -> bool:
        """Return whether a program is there without a build."""
        return self.folder(self._table(name)).is_dir()

    def folder(self, table: str) -> Path:
        """Return where the programs of a table are kept: elsewhere for whatever is built otherwise."""
        source = self.sources[table]
        made_from = {
            "source": asdict(source),
            "flags": [GOFLAGS, LDFLAGS],
            "machine": [sys.platform, platform.machine()],
            "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files(source)],
        }
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]
        return self._cache / f"{table}-{source.version}-{key}"

    def _table(self, name: str) -> str:
        return next(table for table, source in self.sources.items() if name in source.programs)

    def _files(self, source: Source) -> list[Path]:
        if not source.manifest:
            return []
        manifest = self._project / source.manifest
        return [manifest, manifest.with_name("go.mod"), manifest.with_name("go.sum")]

    def _build(self, source: Source, folder: Path) -> None:
        go = find_go(self._go, self._cache)
        environment = build_environment(go)
        folder.mkdir()
        downloaded = run(
            [str(go), "mod", "download", "-json", f"{source.module}@{source.module_version}"],
            environment=environment,
        )
        module = Path(json.loads(downloaded)["Dir"])
        linked = LDFLAGS
        if source.version_variable:
            linked += f" -X {source.version_variable}={source.version}"
        # In the module's own folder: there its replace and exclude directives hold, and its go.sum.
        build = [str(go), "build", "-mod=readonly", f"-ldflags={linked}", f"-tags={','.join(source.tags)}"]
        if not source.manifest:
            for name, package in source.commands.items():
                run([*build, "-o", str(folder / name), package], environment=environment, folder=module)
            return
        work = folder / "work"
        work.mkdir()
        builder = work / "builder"
        run([*build, "-o", str(builder), "."], environment=environment, folder=module)
        manifest, *pins = self._files(source)
        # Not the builder's own `go mod tidy`: a module that only fileexporter's tests need cannot be had.
        generate = ["--skip-get-modules", "--skip-compilation", f"--output-path={work}"]
        run([str(builder), f"--config={manifest}", *generate], environment=environment)
        for pin in pins:
            shutil.copy(pin, work)
        for name, package in source.commands.items():
            run([*build, "-o", str(folder / name), package], environment=environment, folder=work)
        shutil.rmtree(work)


@functools.cache
def _programs() -> Programs:
    return Programs(ROOT, cache_directory())


@functools.cache
def program(name: str) -> Path:
    """Return the path of prometheus, promtool, alertmanager, amtool, victoria-metrics, otelcol or
    docker-compose.

    It is built where it is missing, which takes minutes. Raises ProgramUnavailableError.
    """
    path = _programs().path(name)
    used.note(name, [str(path), "--version"])
    return path


def main() -> int:
    """Build what is missing, say where each program is; return 1 where one could not be had."""
    programs = _programs()
    missing = 0
    for name in programs.names:
        label = f"{name} {programs.version(name)}"
        if not programs.is_cached(name):
            sys.stderr.write(f"{label}: building\n")
        try:
            found = str(programs.path(name))
        except ProgramUnavailableError as error:
            missing += 1
            found = f"NOT AVAILABLE: {error}"
        sys.stdout.write(f"{label}: {found}\n")
        sys.stdout.flush()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
