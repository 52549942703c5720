"""Debian packages for tests, unpacked into a cache: nothing is installed, nothing is started."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path


class PackageUnavailableError(Exception):
    """Say which package could not be had, and why."""


def cache_directory() -> Path:
    """Name the folder in which downloaded programs are kept between runs; makes nothing."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "aoss-telemetry"


def unpack(*packages: str) -> Path:
    """Return a folder that holds the packages and those of their dependencies that the system lacks.

    Raises PackageUnavailableError where apt or the network does not have them, or there is no place for them.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise PackageUnavailableError(f"{' '.join(packages)}: apt-get and dpkg-deb are needed")
    cache = cache_directory()
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    key = hashlib.sha256(f"{release}{sorted(packages)}".encode()).hexdigest()[:12]
    root = cache / f"{packages[0]}-{key}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{root.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not root.exists():
                _download(packages, root)
    except OSError as error:
        raise PackageUnavailableError(f"{' '.join(packages)}: {error}") from error
    return root


def _download(packages: tuple[str, ...], root: Path) -> None:
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    lists = partial / "apt-lists"
    archives = partial / "debs"
    (lists / "partial").mkdir(parents=True)
    archives.mkdir()
    options = [
        f"-oDir::State::lists={lists}",
        f"-oDir::Cache={partial}/apt-cache",
        "-oAPT::Sandbox::User=root",
        "-oDebug::NoLocking=1",
    ]
    # A list of our own: the system's may be absent or old, and only root may refresh it.
    update = _run(["apt-get", *options, "-oAPT::Update::Error-Mode=any", "update"])
    if update.returncode:
        raise PackageUnavailableError(f"apt-get update failed: {update.stderr.strip()[-400:]}")
    # Reinstalled where present, so that a machine with the package and one without unpack the same.
    simulated = _run(
        ["apt-get", *options, "--no-install-recommends", "--reinstall", "-s", "install", *packages]
    )
    if simulated.returncode:
        raise PackageUnavailableError(f"{' '.join(packages)}: {simulated.stderr.strip()[-400:]}")
    wanted = sorted(set(re.findall(r"^Inst (\S+)", simulated.stdout, re.MULTILINE)) | set(packages))
    fetched = _run(["apt-get", *options, "download", *wanted], cwd=archives)
    if fetched.returncode:
        raise PackageUnavailableError(f"{' '.join(wanted)}: {fetched.stderr.strip()[-400:]}")
    tree = partial / "root"
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, tree], check=True)
    tree.rename(root)
    shutil.rmtree(partial, ignore_errors=True)


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def library_path(root: Path) -> str:
    """Return the LD_LIBRARY_PATH for programs that were unpacked into `root`."""
    folders = [
        path for path in (root / "usr/lib", root / "lib") for path in (path, *path.glob("*-linux-gnu*"))
    ]
    return ":".join(str(path) for path in folders if path.is_dir())
