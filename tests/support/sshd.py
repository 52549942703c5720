"""A real sshd for tests: Debian's, on a free loopback port, with throw-away keys; nothing is installed.

As root it lets in root and a plain user who exists for this sshd alone: it runs in a mount namespace of its
own, where /run is empty and /etc/passwd, /etc/group and /etc/shadow have additions. As anyone else it lets in
only that user, under the name `plain`.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runners.launcher import descendants
from tests.support import debian, used
from tests.support.backend import free_port

PLAIN_ID = 64321
PLAIN_NAME = "aoss-plain"

# The users that RunningSshd.users names, known before one runs: for pytest.mark.parametrize.
USERS = ("root", "plain") if os.geteuid() == 0 else ("plain",)

_START_SECONDS = 20.0

# Mounts made here are seen by no one else: unshare makes them private.
_NAMESPACE = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd /run/root /run/plain
cp "$1/authorized_keys" /run/authorized_keys
chmod 644 /run/authorized_keys
chown "$2" /run/plain
for name in passwd group shadow; do mount --bind "$1/$name" "/etc/$name"; done
shift 2
exec "$@"
"""


class RunningSshd:
    """An sshd that runs, and what is needed to log in."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, packages: Path, lines: tuple[str, ...]) -> None:
        self.key_path = folder / "client_key"
        self.users = {"plain": pwd.getpwuid(os.geteuid()).pw_name}
        if os.geteuid() == 0:
            self.users = {"root": "root", "plain": PLAIN_NAME}
        self.port = free_port()
        self.log_path = folder / "sshd.log"
        self._folder = folder
        self._packages = packages
        self.lines = lines
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {**os.environ, "LD_LIBRARY_PATH": debian.library_path(packages)}
        self.make_key(self.key_path)
        shutil.copy(self.key_path.with_suffix(".pub"), folder / "authorized_keys")
        self.new_host_key()
        used.note("sshd", [self.program("ssh"), "-V"], self.environment)

    @property
    def host_key_line(self) -> str:
        """The public host key, without its comment."""
        return " ".join((self._folder / "host_key.pub").read_text().split()[:2])

    @property
    def log(self) -> str:
        """What sshd has logged so far."""
        return self.log_path.read_text(errors="replace")

    def program(self, name: str) -> str:
        """Return the path of one of OpenSSH's client programs; `environment` is what it needs to run."""
        return str(self._packages / "usr/bin" / name)

    def make_key(self, path: Path, kind: str = "ed25519", passphrase: str = "") -> None:
        """Make a key pair, replacing one that is there."""
        for old in (path, path.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        command = [self.program("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-f", str(path)]
        subprocess.run(command, check=True, env=self.environment, timeout=60)

    def new_host_key(self, kind: str = "ed25519") -> None:
        """Replace the host key; it counts from the next start."""
        self.make_key(self._folder / "host_key", kind)

    def start(self) -> None:
        """Start, and return once connections are accepted."""
        config = self._folder / "sshd_config"
        config.write_text("\n".join([*self._settings(), *self.lines, ""]))
        command: list[str | Path] = [self._packages / "usr/sbin/sshd", "-D", "-e", "-f", config]
        if os.geteuid() == 0:
            self._write_accounts()
            command = [
                *("unshare", "--mount", "sh", "-c", _NAMESPACE, "sh", self._folder, str(PLAIN_ID)),
                *command,
            ]
        # Whoever kills the tests must not leave a root login behind, however short-lived its keys.
        command = ["setpriv", "--pdeathsig=TERM", *command]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, cwd="/"
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"sshd did not start:\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it, with the connections that are still open."""
        if self._process is None:
            return
        # Those that serve a connection are in sessions of their own.
        processes = descendants(self._process.pid)
        self._process.terminate()
        self._process.wait(timeout=10)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process = None

    def _settings(self) -> list[str]:
        keys = "/run/authorized_keys" if os.geteuid() == 0 else str(self._folder / "authorized_keys")
        helpers = self._packages / "usr/lib/openssh"
        return [
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f"HostKey {self._folder / 'host_key'}",
            f"AuthorizedKeysFile {keys}",
            "PidFile none",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "StrictModes no",
            "UseDNS no",
            "PrintMotd no",
            "PrintLastLog no",
            "LogLevel VERBOSE",
            "MaxStartups 100",
            # Since 9.8 it starts these, which are not where it expects them.
            *(f"SshdSessionPath {path}" for path in [helpers / "sshd-session"] if path.exists()),
            *(f"SshdAuthPath {path}" for path in [helpers / "sshd-auth"] if path.exists()),
        ]

    def _write_accounts(self) -> None:
        """Write account files with the users that are missing, and with no one locked out."""
        # Homes of their own: no start-up file of this machine's root is read.
        users = [
            ("root", 0, "/run/root"),
            ("sshd", PLAIN_ID + 1, "/run/sshd"),
            (PLAIN_NAME, PLAIN_ID, "/run/plain"),
        ]
        added = {
            "passwd": [f"{name}:x:{number}:{number}::{home}:/bin/bash" for name, number, home in users],
            "group": [f"{name}:x:{number}:" for name, number, _ in users],
            "shadow": [f"{name}:*:19000::::::" for name, _, _ in users],
        }
        for file, lines in added.items():
            replaced = {line.split(":")[0] for line in lines}
            kept = [
                line
                for line in Path("/etc", file).read_text().splitlines()
                if line.split(":")[0] not in replaced
            ]
            (self._folder / file).write_text("\n".join([*kept, *lines, ""]))


@contextlib.contextmanager
def running_sshd(folder: Path, *lines: str) -> Iterator[RunningSshd]:
    """Run an sshd whose files are in `folder`, with additional lines of configuration; skip without one."""
    try:
        packages = debian.unpack("openssh-server", "openssh-client")
    except debian.PackageUnavailableError as error:
        pytest.skip(f"no sshd: {error}")
    if os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("no sshd: root may not make a mount namespace here")
    server = RunningSshd(folder, packages, lines)
    server.start()
    try:
        yield server
    finally:
        server.stop()
