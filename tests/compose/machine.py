"""A machine that runs the services as Docker would, where there is no Docker.

All services live in a network of the machine, in which each one's name is a loopback address. A service has
a root file system of its own, made read-only once its mounts are in place, processes of its own, and the
user, the capabilities, the variables and the arguments of docker-compose.yml. What its image brings is the
system of the tests' machine, with what `IMAGES` says laid over it. Limits of memory and CPU and restarts are
not imitated.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.compose.definition import ROOT, Service, services
from tests.support.stack.programs import program

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """What an image has that this machine lacks, as its Dockerfile says; `directories` by their user."""

    entrypoint: list[str]
    program: str = ""
    directories: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"


IMAGES = {
    "prometheus": Image(["/bin/prometheus"], "prometheus", {"/prometheus": 65534}),
    "alertmanager": Image(["/bin/alertmanager"], "alertmanager", {"/alertmanager": 65534}),
    "otel-collector": Image(["/otelcol-contrib"], "otelcol"),
    "victoriametrics": Image(["/victoria-metrics-prod"], "victoria-metrics"),
    "collector-init": Image([]),
}


class Machine:
    """The machine, for a `with` block; leaving it ends all that runs in it. Needs root."""

    def __init__(self, folder: Path, secrets: Path, replaced: Mapping[str, Path] | None = None) -> None:
        """Take the folder of the secrets; `replaced` files are mounted in place of the repository's."""
        self.layers = folder / "layers"
        self.hosts = folder / "hosts"
        self._secrets = secrets
        self._replaced = dict(replaced or {})
        self._closing = ExitStack()
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.layers.mkdir()
        names = " ".join(services())
        self.hosts.write_text(f"127.0.0.1 localhost {names}\n", encoding="utf-8")
        script = (
            f"mount -t tmpfs -o mode=755 tmpfs {self.layers}; mount --bind {self.hosts} /etc/hosts; "
            "echo ready; exec sleep infinity"
        )
        self._holder = subprocess.Popen(
            [
                *["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--net"],
                *[sys.executable, "-c", _LOOPBACK_UP, "sh", "-euc", script],
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._closing.callback(_end, self._holder)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def inside(self, *command: str, network: bool = True) -> list[str]:
        """Return the command that runs a command on this machine, or with its files alone."""
        assert self._holder is not None
        return [
            "nsenter",
            f"--target={self._holder.pid}",
            "--mount",
            *(["--net"] if network else []),
            *command,
        ]

    def get(self, url: str, *arguments: str) -> tuple[int, str]:
        """Return the status and the text that an address on this machine answers; 0 where nobody answers."""
        answer = subprocess.run(
            self.inside("curl", "-sS", "-m", "20", "-w", "\n%{http_code}", *arguments, url),
            capture_output=True,
            text=True,
            check=False,
        )
        text, _, status = answer.stdout.rpartition("\n")
        return int(status or 0), text

    def wait_for(self, url: str, container: "Container", seconds: float = 60.0) -> None:
        """Wait until an address answers 200."""
        deadline = time.monotonic() + seconds
        while self.get(url)[0] != 200:
            assert container.process.poll() is None, container.log
            assert time.monotonic() < deadline, f"{url} does not answer:\n{container.log}"
            time.sleep(0.1)

    def start(
        self,
        service: Service,
        image: Image,
        environment: Mapping[str, str],
        lower: str = "",
    ) -> "Container":
        """Start a service in an image; `lower` is a layer to put below it."""
        container = Container(self, service, image, environment, lower)
        self._closing.callback(container.kill)
        return container

    def mounts(self, service: Service, root: Path) -> list[str]:
        """Return the shell lines that mount a service's volumes, files and secrets, the outer ones first."""
        mounts = [*service.mounts, *service.secret_mounts()]
        lines = []
        for mount in sorted(mounts, key=lambda mount: mount.target.count("/")):
            target = f"{root}{mount.target}"
            if mount.is_volume:
                source = self.layers / "volumes" / mount.source
                # A new volume takes the owner and the mode of the image's directory, where there is one.
                lines.append(
                    f"if [ ! -d {source} ]; then mkdir -p {source} {target}; "
                    f"chown --reference={target} {source}; chmod --reference={target} {source}; fi"
                )
            else:
                source = self._replaced.get(mount.source, ROOT / mount.source)
                if mount.source.startswith("./secrets/"):
                    source = self._secrets / mount.source.removeprefix("./secrets/")
                if source.is_file():
                    lines.append(f"mkdir -p {Path(target).parent}; [ -e {target} ] || touch {target}")
            lines.append(f"[ -e {target} ] || mkdir -p {target}; mount --bind {source} {target}")
            if mount.read_only:
                lines.append(f"mount -o remount,bind,ro {target}")
        return lines


class Container:
    """A service that runs; `process` is the parent of its first process."""

    def __init__(
        self, machine: Machine, service: Service, image: Image, environment: Mapping[str, str], lower: str
    ) -> None:
        self.service = service
        self._machine = machine
        self._root = machine.layers / service.name / "root"
        self._environment = {"PATH": PATH} | dict(image.environment) | dict(environment)
        self._workdir = image.workdir
        self._log_path = machine.hosts.with_name(f"{service.name}.log")
        lines = [
            *overlay(self._root, lower),
            f"mount --rbind /dev {self._root}/dev",
            f"mount -t tmpfs -o mode=1777,size={service.raw.get('shm_size', '64m')} shm {self._root}/dev/shm",
            f"mount -t proc proc {self._root}/proc",
            f"mount --bind {machine.hosts} {self._root}/etc/hosts",
            *(
                f"install -d -o {owner} -g {owner} {self._root}{path}"
                for path, owner in image.directories.items()
            ),
        ]
        if image.program:
            target = f"{self._root}{image.entrypoint[0]}"
            lines.append(f"touch {target}; mount --bind {program(image.program)} {target}")
        for entry in service.raw.get("tmpfs", []):
            path, _, options = entry.partition(":")
            lines.append(
                f"mkdir -p {self._root}{path}; mount -t tmpfs -o mode=1777,{options} tmpfs {self._root}{path}"
            )
        lines += machine.mounts(service, self._root)
        if service.raw["read_only"]:
            lines.append(f"mount -o remount,ro {self._root}")
        arguments = [*service.raw.get("entrypoint", image.entrypoint), *service.command]
        lines.append(f"exec {shlex.join(self._as_user(arguments))}")
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                machine.inside(
                    *["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork"],
                    *["--kill-child=KILL", "sh", "-euc", "\n".join(lines)],
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _as_user(self, arguments: Sequence[str]) -> list[str]:
        user, _, group = self.service.raw["user"].partition(":")
        dropped = ["-all"] if self.service.raw.get("cap_drop") == ["ALL"] else []
        capabilities = dropped + [f"+{name.lower()}" for name in self.service.raw.get("cap_add", [])]
        limits = [f"--bounding-set={','.join(capabilities)}"] if capabilities else []
        if "no-new-privileges:true" in self.service.raw.get("security_opt", []):
            limits.append("--no-new-privs")
        variables = [f"{key}={value}" for key, value in self._environment.items()]
        return [
            *["chroot", str(self._root), "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"],
            *["--inh-caps=-all", *limits, "env", "-i", f"--chdir={self._workdir}", *variables, *arguments],
        ]

    @property
    def log(self) -> str:
        """Return what the service has written, or why it did not start."""
        return self._log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Return the number of the service's first process, on the test's side."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(path.read_text().split()[0])

    def status(self) -> dict[str, str]:
        """Return /proc's status of the first process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container as its user, as `docker compose exec` and health checks do."""
        shell = shlex.join(self._as_user(arguments))
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "sh", "-c", f"exec {shell}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def stop(self, seconds: float) -> int:
        """Stop the service as Docker does, and return its exit code; raises TimeoutExpired."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """End the service, whatever it does."""
        _end(self.process)


def overlay(root: Path, lower: str = "") -> list[str]:
    """Return the shell lines that make a root file system over this machine's own, or over a layer of it."""
    upper, work = root.with_name("upper"), root.with_name("work")
    below = f"{lower}:/" if lower else "/"
    lines = [
        f"mkdir -p {root} {upper} {work}",
        f"mount -t overlay -o lowerdir={below},upperdir={upper},workdir={work} overlay {root}",
    ]
    # The tests' own Python stands for the image's, wherever it lies, and is found by every user.
    if sys.base_prefix != "/usr":
        lines += [
            f"mount --bind {sys.base_prefix} {root}/usr/local",
            f"mount -o remount,bind,ro {root}/usr/local",
        ]
    return lines


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(timeout=20)
    if process.stdout:
        process.stdout.close()


_LOOPBACK_UP = f"""
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", {0x1 | 0x40}))
os.execvp(sys.argv[1], sys.argv[1:])
"""
