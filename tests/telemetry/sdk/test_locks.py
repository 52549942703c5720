"""Locks and identities, held against real processes that fork, execute and are killed."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from telemetry.sdk.locks import FileLock, ProcessIdentity, held_elsewhere, is_running, parse_stat
from tests.telemetry.sdk.support_processes import line_of, output, python, started, wait_for

HOLD = (
    "import os, sys, time\n"
    "from pathlib import Path\n"
    "from telemetry.sdk.locks import *\n"
    "os.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent)\n"
    "os.register_at_fork(after_in_child=close_inherited)\n"
    "lock = FileLock(Path(sys.argv[1]))\n"
    "lock.acquire_exclusive()\n"
)
WAIT = "print('ready', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a test may have its lock file."""
    return tmp_path / "a.lock"


def kill(process: "subprocess.Popen[str]") -> None:
    """Kill a process, not its children."""
    process.kill()
    process.wait(20)


def test_an_exclusive_lock_excludes_all_others(path: Path) -> None:
    """Nobody else gets a lock that is held exclusively, and everybody once it is released."""
    holder, other = FileLock(path), FileLock(path)
    with holder.exclusive():
        assert not other.acquire_exclusive(blocking=False)
        assert not other.acquire_shared(blocking=False)
        assert (holder.held, other.held) == (True, False)

    assert other.acquire_exclusive(blocking=False)
    other.release()


def test_a_shared_lock_is_shared(path: Path) -> None:
    """Several hold a lock shared, which keeps out who wants it alone."""
    first, second, alone = FileLock(path), FileLock(path), FileLock(path)
    with first.shared(), second.shared():
        assert not alone.acquire_exclusive(blocking=False)
    assert alone.acquire_exclusive(blocking=False)
    alone.release()


def test_acquire_waits_for_the_holder(path: Path) -> None:
    """A blocking acquire returns once the holder releases, not before."""
    holder, other = FileLock(path), FileLock(path)
    holder.acquire_exclusive()
    waiter = threading.Thread(target=other.acquire_exclusive)
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()
    holder.release()
    waiter.join(20)

    assert other.held
    other.release()


def test_a_held_lock_is_not_taken_twice(path: Path) -> None:
    """Acquiring through an object that holds the lock is an error, and harmless to the lock."""
    lock = FileLock(path)
    with lock.exclusive():
        with pytest.raises(RuntimeError, match="locked by this object"):
            lock.acquire_shared()
        assert held_elsewhere(path)


def test_the_file_is_for_its_user_alone(path: Path) -> None:
    """A lock file is made with mode 0600."""
    with FileLock(path).exclusive():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_dropped_lock_is_freed(path: Path) -> None:
    """A lock whose object is collected is free, its descriptor closed."""
    FileLock(path).acquire_exclusive()

    assert not held_elsewhere(path)


def test_kill_frees_the_lock_of_a_parent_whose_child_lives_on(path: Path) -> None:
    """A forked child does not keep the lock of its killed parent."""
    program = HOLD + "if os.fork() == 0: print('forked', flush=True); time.sleep(60)\n" + WAIT
    with started(python(program, str(path))) as process:
        assert {"forked", "ready"} == {line_of(process), line_of(process)}
        assert held_elsewhere(path)
        kill(process)

        assert not held_elsewhere(path)


def test_a_child_leaves_its_parents_lock_alone(path: Path) -> None:
    """A forked child that closes, releases and drops the lock it inherited does not free it."""
    program = HOLD + "if os.fork() == 0: lock.release(); del lock; os._exit(0)\nos.wait()\n" + WAIT
    for hooks in ("", "os.register_at_fork = lambda **hooks: None\n"):
        with started(python(f"import os\n{hooks}{program}", str(path))) as process:
            line_of(process)

            assert held_elsewhere(path)


def test_an_executed_command_does_not_keep_the_lock(path: Path) -> None:
    """A command that outlives the lock's holder does not keep it."""
    program = HOLD + "import subprocess\nsubprocess.Popen(['sleep', '60'], close_fds=False)\n" + WAIT
    with started(python(program, str(path))) as process:
        line_of(process)
        kill(process)

        assert not held_elsewhere(path)


def test_forks_at_any_instant_leave_no_descriptor_to_the_child(path: Path) -> None:
    """Children forked while another thread takes and probes locks have none of its descriptors."""
    program = HOLD + (
        "import threading\n"
        "stop = threading.Event()\n"
        "def churn():\n"
        "    while not stop.is_set():\n"
        "        with FileLock(Path(sys.argv[1] + '2')).exclusive():\n"
        "            held_elsewhere(Path(sys.argv[1]))\n"
        "threads = [threading.Thread(target=churn) for _ in range(2)]\n"
        "for thread in threads: thread.start()\n"
        "leaks = 0\n"
        "for _ in range(100):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        opened = [os.path.realpath(each) for each in Path('/proc/self/fd').iterdir()]\n"
        "        os._exit(any(name.startswith(sys.argv[1]) for name in opened))\n"
        "    leaks += os.waitpid(child, 0)[1] != 0\n"
        "stop.set()\n"
        "for thread in threads: thread.join()\n"
        "print(leaks)\n"
    )

    assert output(python(program, str(path))) == ["0"]


def test_what_is_not_held(tmp_path: Path) -> None:
    """A file that is missing, free, a FIFO or a symbolic link is not held, and probing makes none."""
    missing, fifo, link, holder = (tmp_path / name for name in ("missing", "fifo", "link", "holder"))
    os.mkfifo(fifo)
    link.symlink_to(holder)
    with FileLock(holder).exclusive():
        assert [held_elsewhere(each) for each in (missing, fifo, link)] == [False] * 3
    assert (held_elsewhere(holder), missing.exists()) == (False, False)


def test_what_cannot_be_probed_is_held(path: Path) -> None:
    """Where no descriptor is left, a lock is taken for held."""
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom telemetry.sdk.locks import held_elsewhere\n"
        "Path(sys.argv[1]).touch()\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(held_elsewhere(Path(sys.argv[1])))\n"
    )

    assert output(python(program, str(path))) == ["True"]


def test_this_process_runs() -> None:
    """This process is running, and its identity survives being written."""
    own = ProcessIdentity.current()

    assert is_running(own) is True
    assert own == ProcessIdentity.of(os.getpid()) == ProcessIdentity.from_text(own.to_text())
    assert None is ProcessIdentity.from_text(own.to_text() + "0")


def test_a_pid_used_again_is_another_process() -> None:
    """A process with the pid but not the start time is not the one that is meant."""
    own = ProcessIdentity.current()

    assert is_running(own._replace(start_time=own.start_time + 1)) is False


def test_another_container_or_boot_cannot_be_told() -> None:
    """A process of another pid namespace or boot is neither running nor dead."""
    own = ProcessIdentity.current()

    assert is_running(own._replace(pid_namespace=own.pid_namespace + 1)) is None
    assert is_running(own._replace(boot_id=b"x" * 16)) is None


def test_a_process_dies_when_it_becomes_a_zombie() -> None:
    """A killed process is dead before its parent has waited for it, and after."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    assert is_running(identity) is True
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: is_running(identity) is False)
    process.wait(20)

    assert (is_running(identity), ProcessIdentity.of(process.pid)) == (False, None)


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**62])
def test_a_pid_that_cannot_be_is_not_running(pid: int) -> None:
    """No process has such a number, whatever a file says."""
    assert is_running(ProcessIdentity.current()._replace(pid=pid)) is False


def test_a_name_with_parentheses_is_read_past() -> None:
    """The name of a program may hold spaces, parentheses and line ends; the start time is still found."""
    name = "a) Z 1 (\n"
    program = (
        "from pathlib import Path\nfrom telemetry.sdk.locks import *\nbefore = ProcessIdentity.current()\n"
        f"Path('/proc/self/comm').write_bytes({name.encode()!r})\n"
        "print(before == ProcessIdentity.current(), is_running(before))\n"
    )

    assert output(python(program)) == ["True True"]


@pytest.mark.parametrize("content", [b"", b")", b"1 (a", b"1 (a) S x", b"1 (a) " + b"x " * 50])
def test_a_damaged_stat_is_refused(content: bytes) -> None:
    """What is not of the form of /proc/PID/stat tells nothing."""
    assert None is parse_stat(content)
