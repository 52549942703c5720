"""Remedies by the text of a failure, and by what they do when they are run."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.planners import remedies
from app.planners.healing import recover
from app.planners.plan import Attempt
from tests.app.planners.failures import LOOK_ONLY, MAY_CHANGE, failed, heal, run

# Permission denied


def test_sudo_only_where_changes_are_allowed() -> None:
    """A refused command is run again as root, quoted whole, if that is allowed."""
    command = "echo \"it's\" > /etc/motd && cat '/etc/shadow'"
    failure = failed(command, "bash: line 1: /etc/motd: Permission denied")
    assert recover(LOOK_ONLY, failure, []) == ()
    (step,) = recover(MAY_CHANGE, failure, [])
    assert step.replaces
    assert step.changes
    quoted = step.command.removeprefix("sudo -n bash -c ")
    shown = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, text=True, check=True)
    assert command == shown.stdout


@pytest.mark.parametrize(
    ("command", "stderr"),
    [
        ("ssh web1 true", "deploy@web1: Permission denied (publickey)."),
        ("psql -c 'select 1'", "ERROR:  permission denied for table customers"),
        ("mysql -e 'select 1'", "ERROR 1045 (28000): Access denied for user 'x'@'localhost'"),
        ("sudo cat /etc/shadow", "cat: /etc/shadow: Permission denied"),
    ],
)
def test_permission_that_root_here_would_not_have(command: str, stderr: str) -> None:
    """A refusal by a database or another server, or in spite of sudo, is not answered with sudo."""
    assert recover(MAY_CHANGE, failed(command, stderr), []) == ()


def test_plain_user_reads_elsewhere() -> None:
    """Where a plain user can see the same in another place, no privilege is used."""
    failure = failed("ufw status", "ERROR: You need to be root to run this script")
    assert [step.command for step in recover(LOOK_ONLY, failure, [])] == ["cat /etc/ufw/ufw.conf"]


def test_script_that_is_not_executable_healed_for_real(tmp_path: Path) -> None:
    """A script without the execute bit is given to its interpreter, which the bit does not concern."""
    (tmp_path / "a tool.sh").write_text('echo "$1" > out\n')
    command = "./'a tool.sh' 'x y' && cat out"
    failure = run(command, tmp_path)
    assert failure
    assert failure.exit_code == 126
    recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
    assert [step.command for step in recoveries[0]] == ["bash './a tool.sh' 'x y' && cat out"]
    assert (tmp_path / "out").read_text() == "x y\n"


# A held lock file


@pytest.mark.parametrize(
    ("stderr", "path"),
    [
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 12 (apt-get)\nE: Unable",
         "/var/lib/dpkg/lock-frontend"),
        ("E: Could not get lock /var/lib/apt/lists/lock - open (11: Resource temporarily unavailable)",
         "/var/lib/apt/lists/lock"),
        ("dpkg: error: dpkg frontend lock was locked by another process with pid 12",
         "/var/lib/dpkg/lock-frontend"),
        ("fatal: Unable to create '/srv/app/.git/index.lock': File exists.\n\nAnother git process",
         "/srv/app/.git/index.lock"),
        ("useradd: cannot lock /etc/passwd; try again later.", "/etc/passwd.lock"),
    ],
)  # fmt: skip
def test_held_lock_is_waited_for(stderr: str, path: str) -> None:
    """A lock that is held is waited for, then for longer, then given up; it is never removed."""
    failure = failed("apt-get install -y tree", stderr, 100)
    first = recover(LOOK_ONLY, failure, [])
    assert len(first) == 1
    assert f"Wait up to 60 s until {path} is free" == first[0].description
    assert not first[0].changes
    assert not first[0].replaces
    second = recover(LOOK_ONLY, failure, [Attempt(first, failure)])
    assert f"Wait up to 120 s until {path} is free" == second[0].description
    assert recover(LOOK_ONLY, failure, [Attempt(first, failure), Attempt(second, failure)]) == ()


def test_lock_without_a_name_is_waited_for_blindly() -> None:
    """A lock whose file is not named is given some time."""
    failure = failed("sqlite3 app.db 'delete from a'", "Error: database is locked", 5)
    assert [step.command for step in recover(LOOK_ONLY, failure, [])] == ["sleep 5"]


def test_lock_that_may_not_be_opened_is_a_matter_of_permission() -> None:
    """apt's words for a lock file that only root may open lead to sudo, not to waiting."""
    stderr = "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)"
    (step,) = recover(MAY_CHANGE, failed("apt-get install -y tree", stderr, 100), [])
    assert step.command.startswith("sudo -n bash -c ")


def test_lock_file_healed_for_real(tmp_path: Path) -> None:
    """git refuses while index.lock exists; the wait ends when it goes, and git then succeeds."""
    assert run("git init -q . && touch a", tmp_path) is None
    lock = tmp_path / ".git" / "index.lock"
    lock.touch()
    failure = run("git add a", tmp_path)
    assert failure
    threading.Timer(1.0, lock.unlink).start()
    recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
    assert len(recoveries) == 1
    assert run("git ls-files --error-unmatch a", tmp_path) is None


def test_kernel_lock_healed_for_real(tmp_path: Path) -> None:
    """A lock as dpkg takes it is waited for by looking, without opening the file."""
    take = "import fcntl; fcntl.lockf(open('held', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    refused = f"E: Could not get lock {tmp_path}/held. It is held by process 12 (apt-get)"
    command = f'{sys.executable} -c "{take}" 2>/dev/null || {{ echo "{refused}" >&2; exit 100; }}'
    with (tmp_path / "held").open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        failure = run(command, tmp_path)
        assert failure
        assert failure.exit_code == 100
        began = time.monotonic()
        threading.Timer(1.5, lambda: fcntl.lockf(held, fcntl.LOCK_UN)).start()
        recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
    assert len(recoveries) == 1
    assert time.monotonic() - began > 1.4


def test_lock_that_stays_is_not_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that nobody gives back ends both waits as failures, and is left where it is."""
    monkeypatch.setattr(remedies, "LOCK_WAIT_SECONDS", (1, 2))
    assert run("git init -q . && touch a", tmp_path) is None
    lock = tmp_path / ".git" / "index.lock"
    lock.touch()
    failure = run("git add a", tmp_path)
    assert failure
    recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
    assert [len(each) for each in recoveries] == [1, 1, 0]
    assert lock.exists()


# Already exists


def test_directory_that_exists_healed_for_real(tmp_path: Path) -> None:
    """mkdir accepts the directory that is there already, and the rest of the command runs."""
    (tmp_path / "a b").mkdir()
    command = "mkdir 'a b' \"$HOME/c\" && touch 'a b/file'"
    failure = run(command, tmp_path)
    assert failure
    recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
    assert [command.replace("mkdir", "mkdir -p")] == [step.command for step in recoveries[0]]
    assert (tmp_path / "a b" / "file").exists()


def test_file_in_the_way_of_a_directory_is_not_healed_by_looking(tmp_path: Path) -> None:
    """mkdir -p does not help where a file is in the way, and without leave nothing is moved."""
    (tmp_path / "a").write_text("precious")
    failure = run("mkdir a", tmp_path)
    assert failure
    recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
    assert [len(each) for each in recoveries] == [1, 0]
    assert (tmp_path / "a").read_text() == "precious"


def test_file_in_the_way_is_moved_aside_for_real(tmp_path: Path) -> None:
    """With leave to change, what is in the way is moved aside under a dated name, and nothing is lost."""
    (tmp_path / "a").write_text("precious")
    failure = run("mkdir a", tmp_path)
    assert failure
    recoveries = heal(MAY_CHANGE, failure, lambda each: run(each, tmp_path))
    assert len(recoveries) == 2
    assert (tmp_path / "a").is_dir()
    (aside,) = tmp_path.glob("a.before-*")
    assert aside.read_text() == "precious"


def test_same_link_is_skipped_for_real(tmp_path: Path) -> None:
    """A link that already leads to the same place is taken as done; one that leads elsewhere is not."""
    (tmp_path / "link").symlink_to("here")
    for target, lengths in (("here", [1]), ("elsewhere", [1, 0])):
        failure = run(f"ln -s {target} link", tmp_path)
        assert failure
        recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))
        assert lengths == [len(each) for each in recoveries]
    assert (tmp_path / "link").readlink().name == "here"


def test_same_clone_is_skipped_for_real(tmp_path: Path) -> None:
    """A clone that is there with the same origin is taken as done."""
    assert (
        run("git init -q --bare origin && git clone -q ./origin copy 2>/dev/null && touch copy/a", tmp_path)
        is None
    )
    origin = f"{tmp_path}/origin"
    assert run(f"git -C copy remote set-url origin {origin}", tmp_path) is None
    failure = run(f"git clone {origin} copy", tmp_path)
    assert failure
    assert len(heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path))) == 1
    other = run(f"git init -q --bare other && git clone {tmp_path}/other copy", tmp_path)
    assert other
    assert [len(each) for each in heal(LOOK_ONLY, other, lambda each: run(each, tmp_path))] == [1, 0]


@pytest.mark.parametrize(
    ("command", "stderr", "expected"),
    [
        ("useradd -m bob && echo ok", "useradd: user 'bob' already exists", "id bob && echo ok"),
        ("sudo adduser --disabled-password bob", "adduser: The user `bob' already exists.", "sudo id bob"),
        ("groupadd web", "groupadd: group 'web' already exists", "getent group web"),
    ],
)
def test_account_that_exists_is_shown_instead(command: str, stderr: str, expected: str) -> None:
    """An account that is there already is verified in the place of its creation."""
    assert [expected] == [step.command for step in recover(LOOK_ONLY, failed(command, stderr, 9), [])]


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("ln -s /opt/x /etc", "/etc"),
        ("git clone https://example.org/x /usr/lib", "/usr/lib"),
        ("ln -s a ../b", "../b"),
        ("cd /srv && ln -sf a b", "b"),
        ("./untrusted-tool", "/srv/data/precious"),
    ],
)
def test_nothing_that_matters_is_moved_aside(command: str, path: str) -> None:
    """System directories, and paths of which it is not certain what they name, stay in place."""
    failure = failed(command, f"ln: failed to create symbolic link '{path}': File exists")
    assert all(
        "mv" not in step.command
        for recovery in heal(MAY_CHANGE, failure, lambda _: failure)
        for step in recovery
    )


# Port in use


@contextlib.contextmanager
def two_ports_in_a_row() -> Iterator[int]:
    """Hold a loopback port and the next one, and yield the first."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            first.listen()
            second.listen()
            yield port
            return


def test_port_in_use_healed_for_real(tmp_path: Path) -> None:
    """A server whose port is taken starts on the next free one, and the holder is left alone."""
    with two_ports_in_a_row() as port:
        command = (
            f"timeout --preserve-status -s INT 2 {sys.executable} -m http.server {port} --bind 127.0.0.1"
        )
        failure = run(command, tmp_path)
        assert failure
        assert "in use" in failure.stderr
        look, other = recover(LOOK_ONLY, failure, [])
        assert not look.replaces
        assert other.replaces
        assert run(look.command, tmp_path) is None
        process = subprocess.Popen(
            ["/bin/bash", "-c", other.command],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stderr
        try:
            told = re.search(r"(\d+) is used instead", process.stderr.readline())
            assert told
            assert port + 1 < int(told[1])
            assert_connects(int(told[1]))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def assert_connects(port: int) -> None:
    """Wait until something accepts on a loopback port."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ("python3 -m http.server 8000", "8000"),
        ("app --port=9000 --host 0.0.0.0", "9000"),
        ("php -S 127.0.0.1:8080", "8080"),
        ("nc -l -p 4444", "4444"),
        ("PORT=3000 node server.js", "3000"),
    ],
)
def test_named_port_is_replaced(command: str, port: str) -> None:
    """The port that a command names is replaced, and nothing else."""
    _, step = recover(LOOK_ONLY, failed(command, "OSError: [Errno 98] Address already in use"), [])
    assert command.replace(port, "${port}") == step.command.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        "nginx -g 'daemon off;'",  # names no port
        "systemctl start nginx",
        "docker run -p 8080:80 web",  # names two
        "app --port 8000 --admin-port 8001",
        "python3 -m http.server 8000 & awk 'END {print 8000}'",  # the second stands where nothing is expanded
        "python3 -m http.server 8000 & curl 'http://localhost:8000/'",  # the same
        "python3 -m http.server 8000; head -c 8000 file",  # the second may mean something else
    ],
)
def test_unclear_port_is_left(command: str) -> None:
    """Where it is not clear which number is the port, or all of what it means, there is no remedy."""
    failure = failed(command, "bind: Address already in use")
    assert recover(LOOK_ONLY, failure, []) == ()
    assert recover(MAY_CHANGE, failure, []) == ()
