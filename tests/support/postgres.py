"""A real PostgreSQL server for tests, unpacked from the distribution's package, started and stopped here."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import debian, used
from tests.support.backend import free_port

_PROGRAM_SECONDS = 60.0


class PostgresServer:
    """A server on a loopback port, its data in a temporary folder.

    It refuses to run as root, so root runs it as nobody. It ends with the thread that started it.
    Raises debian.PackageUnavailableError.
    """

    user = "aoss"

    def __init__(self) -> None:
        root = debian.unpack(_newest_package())
        self._folder = Path(tempfile.mkdtemp(prefix="aoss-postgres-"))
        self._launcher = ["setpriv", "--pdeathsig=QUIT"]
        if os.geteuid() == 0:
            self._launcher += ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            # The cache lies below a home that only root may enter.
            self._folder.chmod(0o755)
            root = Path(shutil.copytree(root, self._folder / "root", symlinks=True))
        self._bin = max(root.glob("usr/lib/postgresql/*/bin"), key=lambda path: int(path.parent.name))
        self._environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C",
            "TZ": "UTC",
            "LD_LIBRARY_PATH": debian.library_path(root),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_hex(8)
        self.port = free_port()
        used.note("postgresql", [str(self._bin / "postgres"), "--version"], self._environment)
        self._initialize()

    def create_database(self) -> str:
        """Create a database and return its address, as AOSS_DATABASE_URL takes it."""
        name = f"test_{secrets.token_hex(4)}"
        self._execute("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{name}"

    def empty(self, url: str) -> None:
        """Remove all that is in a database, whoever is connected to it; far cheaper than a new one."""
        self._execute(
            url.rpartition("/")[2],
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._launcher, self._bin / "postgres", "-D", self._data, *self._options()],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        give_up = time.monotonic() + _PROGRAM_SECONDS
        while subprocess.run(ready, env=self._environment, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server and break its connections, if it runs."""
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """Freeze the server and all its processes: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server without a last checkpoint, and remove its data."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "private" / "data"

    def _initialize(self) -> None:
        self._data.parent.mkdir(mode=0o700)
        password_file = self._data.parent / "password"
        password_file.write_text(self.password, encoding="utf-8")
        if os.geteuid() == 0:
            for path in (self._data.parent, password_file):
                shutil.chown(path, "nobody", "nogroup")
        done = subprocess.run(
            [
                *self._launcher,
                self._bin / "initdb",
                f"--pgdata={self._data}",
                f"--username={self.user}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROGRAM_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr}")

    def _options(self) -> list[str]:
        settings: Mapping[str, str | int] = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
        }
        return [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]

    def _execute(self, database: str, *statements: str) -> None:
        server = ["-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", database]
        commands = [argument for statement in statements for argument in ("-c", statement)]
        done = subprocess.run(
            [str(self._bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *server, *commands],
            env=self._environment | {"PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROGRAM_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr}")

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(number)
        self._process.wait(_PROGRAM_SECONDS)
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # The parent first: while it is frozen it starts no others. Its children leave its process group.
        self._process.send_signal(number)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            listed = children.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return  # the server itself has ended
        for child in listed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server for the length of a block; skip where it cannot be had."""
    try:
        server = PostgresServer()
    except debian.PackageUnavailableError as error:
        pytest.skip(f"no PostgreSQL: {error}")
    try:
        server.start()
        yield server
    finally:
        server.close()


def _newest_package() -> str:
    names = subprocess.run(
        ["apt-cache", "search", "--names-only", "^postgresql-[0-9]+$"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PROGRAM_SECONDS,
    ).stdout
    versions = [int(version) for version in re.findall(r"^postgresql-(\d+) ", names, re.MULTILINE)]
    # Without package lists of its own a system cannot say; the metapackage depends on what is current.
    return f"postgresql-{max(versions)}" if versions else "postgresql"
