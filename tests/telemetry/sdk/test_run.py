"""The directory of a run: who may use it, what it is called, when it is removed."""

import os
import re
import shutil
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from telemetry.sdk.locks import FileLock, ProcessIdentity
from telemetry.sdk.run import (
    DirectoryRefusedError,
    dead_runs,
    instance_id,
    open_directory,
    remove_run,
)
from tests.telemetry.sdk.support_processes import line_of, output, python, started

SERVICE = "otel-metrics-" + "5" * 16
DEAD = f"{SERVICE}-{'d' * 32}"
NAMED = "import os; from telemetry.sdk.run import *; print(run_directory('a', 'b'))"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return where a test may have its runs."""
    return tmp_path


@pytest.fixture
def own(base: Path) -> Path:
    """Return the directory of the run that starts in a test."""
    return base / f"{SERVICE}-{'0' * 32}"


@pytest.fixture
def dead(base: Path) -> Path:
    """Return a directory left by a process that was killed, with a segment."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom telemetry.sdk.locks import *\n"
        "from telemetry.sdk.run import *\n"
        "path = open_run(Path(sys.argv[1]))\ninstance_id(path)\nlock = FileLock(path / 'a.segment')\n"
        "lock.acquire_exclusive()\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    with started(python(program, str(base / DEAD))) as process:
        assert line_of(process) == "ready"
        assert list(dead_runs(base, base / f"{SERVICE}-{'0' * 32}")) == []
    return base / DEAD


def note(path: Path, root: ProcessIdentity) -> None:
    """Say that a directory belongs to another root."""
    (path / "run").write_text(f"otel-metrics-run-1 {root.to_text()}\n")


def make_old(path: Path) -> None:
    """Let a directory look untouched for two hours."""
    then = time.time() - 7200
    for each in (*path.iterdir(), path):
        os.utime(each, (then, then))


def test_the_name_tells_runs_and_services_apart() -> None:
    """A directory is named by service, root and user: children have it, others have others."""
    program = (
        "import os\nfrom telemetry.sdk.run import run_directory\n"
        "for each in [('a', 'b'), ('a', 'b'), ('ab', ''), ('', 'b')]:\n"
        "    print(run_directory(*each), flush=True)\n"
        "if os.fork() == 0: print(run_directory('a', 'b'), flush=True); os._exit(0)\n"
        "os.wait()\n"
        "os.geteuid = lambda: 12345\n"
        "print(run_directory('a', 'b'))\n"
    )
    first, second = output(python(program)), output(python(program))

    assert first[0] == first[1] == first[4]
    assert len({*first, *second}) == 8
    assert re.fullmatch(r"otel-metrics-[0-9a-f]{16}-[0-9a-f]{32}", Path(first[0]).name)
    assert not Path(first[0]).exists()


def test_runs_live_in_memory() -> None:
    """Directories are made on /dev/shm where that is a tmpfs that can be written to."""
    mounts = Path("/proc/self/mounts").read_text()
    if not re.search(r"^\S+ /dev/shm tmpfs rw", mounts, re.MULTILINE) or not os.access("/dev/shm", os.W_OK):
        pytest.skip("this machine has no /dev/shm in memory")

    assert [str(Path(each).parent) for each in output(python(NAMED))] == ["/dev/shm"]


def test_where_dev_shm_is_no_tmpfs_another_place_is_taken(tmp_path: Path) -> None:
    """Without a tmpfs on /dev/shm runs live in XDG_RUNTIME_DIR, without that in the temporary directory."""
    mine, temporary, exposed = tmp_path / "mine", tmp_path / "temporary", tmp_path / "exposed"
    mine.mkdir(0o700)
    temporary.mkdir()
    exposed.mkdir()
    exposed.chmod(0o777)  # not sticky: others could put a directory of theirs in the place of ours
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    command += ['mount --bind "$0" /dev/shm && exec "$@"', str(temporary), *python(NAMED)]
    if shutil.which("unshare") is None or os.system("unshare -Urm true 2>/dev/null") != 0:  # noqa: S605
        pytest.skip("unshare is not allowed here")
    places = [
        Path(*output(command, {"XDG_RUNTIME_DIR": runtime, "TMPDIR": str(temporary)})).parent
        for runtime in (str(mine), "", "relative", str(tmp_path / "missing"), str(exposed))
    ]

    assert [mine, *[temporary] * 4] == places


def test_a_directory_is_for_its_user_alone(tmp_path: Path) -> None:
    """A directory is made with mode 0700 whatever the umask, and opened again."""
    before = os.umask(0)
    try:
        path = open_directory(open_directory(tmp_path / "new"))
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("kind", ["symbolic link", "not a directory", "others may write", "belongs to user"])
def test_a_directory_that_others_may_touch_is_refused(kind: str, tmp_path: Path) -> None:
    """A link, a file, a directory that others may write to or own is refused, with the reason."""
    path = tmp_path / "x"
    if kind == "symbolic link":
        path.symlink_to(tmp_path)
    elif kind == "not a directory":
        path.touch()
    elif kind == "others may write":
        path.mkdir()
        path.chmod(0o770)
    elif os.geteuid() == 0:
        path.mkdir(0o700)
        os.chown(path, 65534, 65534)
    else:
        path = Path("/usr")
    with pytest.raises(DirectoryRefusedError, match=kind) as caught:
        open_directory(path)

    assert path == caught.value.path


def test_all_workers_get_one_instance_id(tmp_path: Path) -> None:
    """Of many that ask at once all get the same id, which stays; nothing else is left behind."""
    program = "import sys; from pathlib import Path; from telemetry.sdk.run import *; sys.stdin.readline()\n"
    program += "print(instance_id(Path(sys.argv[1])))"
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: output(python(program, str(tmp_path)))[0], range(4)))
        found |= set(pool.map(lambda _: instance_id(tmp_path), range(40)))

    assert {instance_id(tmp_path)} == found
    assert [path.name for path in tmp_path.iterdir()] == ["instance"]


def test_the_first_instance_id_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was overtaken while making an id takes that of the process that was faster."""
    make, faster = uuid.uuid4, list[str]()

    def overtaken() -> uuid.UUID:
        monkeypatch.undo()
        faster.append(instance_id(tmp_path))
        return make()

    monkeypatch.setattr(uuid, "uuid4", overtaken)

    assert [instance_id(tmp_path)] == faster


def test_a_configured_instance_id_wins(tmp_path: Path) -> None:
    """A configured id is used and not kept."""
    made = instance_id(tmp_path, None)

    assert ["mine", made] == [instance_id(tmp_path, "mine"), instance_id(tmp_path, "")]


@pytest.mark.parametrize("content", [b"", b"\n", b"cut", b"\xff\n", b"x" * 300 + b"\n", b"a\nb\n", b"a\0b\n"])
def test_a_damaged_instance_id_is_made_anew(content: bytes, tmp_path: Path) -> None:
    """A file that holds no id, as after a power failure, is replaced."""
    (tmp_path / "instance").write_bytes(content)
    made = instance_id(tmp_path)

    assert re.fullmatch(r"[0-9a-f-]{36}", made)
    assert made == instance_id(tmp_path)


def test_a_directory_left_by_a_crash_is_removed(base: Path, own: Path, dead: Path) -> None:
    """The next run finds the directory of a killed one, and removes it."""
    found = []
    for path in dead_runs(base, own):
        found.append(path)
        remove_run(path)

    assert ([dead], []) == (found, list(base.iterdir()))


def test_workers_that_outlive_their_root_keep_their_run(base: Path, own: Path) -> None:
    """A run whose root was killed is not dead while a child goes on, and is once that has ended."""
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom telemetry.sdk.locks import *\n"
        "from telemetry.sdk.run import *\nfrom telemetry.sdk.root import find_root\n"
        "os.register_at_fork(after_in_child=close_inherited)\nfind_root()\npath = Path(sys.argv[1])\n"
        "child = os.fork()\nif child: print(child, flush=True); time.sleep(60)\n"
        "lock = FileLock(open_run(path) / 'a.segment')\nlock.acquire_exclusive()\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    with started(python(program, str(base / DEAD))) as process:
        lines = {line_of(process), line_of(process)}
        (child,) = lines - {"ready"}
        process.kill()
        process.wait(20)
        assert list(dead_runs(base, own)) == []
        os.kill(int(child), signal.SIGKILL)
        with FileLock(base / DEAD / "a.segment").exclusive():
            pass  # the kernel has freed it

        assert [base / DEAD] == list(dead_runs(base, own))


@pytest.mark.parametrize("whose", ["own", "another service's", "another user's", "a link", "another name"])
def test_other_directories_are_left_alone(
    whose: str, base: Path, own: Path, dead: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own run, other services, other users, links and what only looks alike are never dead runs."""
    if whose == "own":
        own = dead
    elif whose == "another service's":
        dead.rename(base / dead.name.replace("5", "6"))
    elif whose == "another user's":
        if os.geteuid() == 0:
            os.chown(dead, 65534, 65534)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 65534)
    elif whose == "a link":
        dead.symlink_to(dead.rename(base / "elsewhere"))
    else:
        dead.rename(base / f"{SERVICE}-backup")

    assert list(dead_runs(base, own)) == []


def test_two_that_start_at_once_do_not_share_a_dead_run(base: Path, own: Path, dead: Path) -> None:
    """While one process deals with a dead run no other gets it, and afterwards only if it is still there."""
    seen = [(path, list(dead_runs(base, own))) for path in dead_runs(base, own)]

    assert [(dead, [])] == seen
    assert [dead] == list(dead_runs(base, own))


def test_a_worker_that_joins_at_this_moment_keeps_the_directory(base: Path, own: Path, dead: Path) -> None:
    """A run in which a worker has made a segment since it was judged dead is not removed."""
    for path in dead_runs(base, own):
        with FileLock(path / "b.segment").exclusive():
            remove_run(path)

    assert {"a.segment", "b.segment", "instance", "run", "run.lock"} == {each.name for each in dead.iterdir()}


def test_a_removal_that_was_killed_is_finished(base: Path, own: Path, dead: Path) -> None:
    """A directory that was half removed is no run any more and goes at the next start."""
    dead.rename(f"{dead}.removed")

    assert (list(dead_runs(base, own)), list(base.iterdir())) == ([], [])


def test_a_root_whose_pid_is_used_again_is_dead(base: Path, own: Path, dead: Path) -> None:
    """A living process with the root's pid and another start time does not keep a run."""
    living = ProcessIdentity.current()
    note(dead, living)
    assert list(dead_runs(base, own)) == []
    note(dead, living._replace(start_time=living.start_time - 1))

    assert [dead] == list(dead_runs(base, own))


@pytest.mark.parametrize("content", ["", "junk\n", "otel-metrics-run-2 1-1-1-{boot}\n", "other namespace"])
def test_a_root_that_cannot_be_told_is_given_an_hour(content: str, base: Path, own: Path, dead: Path) -> None:
    """A run of another container, or one with a damaged note, is dead once nobody touched it for an hour."""
    living = ProcessIdentity.current()
    if content == "other namespace":
        note(dead, living._replace(pid_namespace=living.pid_namespace + 1))
    else:
        (dead / "run").write_text(content.format(boot="0" * 32))
    assert list(dead_runs(base, own)) == []
    make_old(dead)

    assert [dead] == list(dead_runs(base, own))


@pytest.fixture
def container() -> list[str]:
    """Return what runs a command in a pid namespace of its own."""
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or os.system(" ".join(command) + " true 2>/dev/null") != 0:  # noqa: S605
        pytest.skip("a pid namespace is not to be had here")
    return command


def test_two_containers_on_one_volume(container: list[str], base: Path, own: Path) -> None:
    """Processes of the same pid in two containers have different runs; neither removes the other's."""
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom telemetry.sdk.run import *\n"
        "path = Path(sys.argv[1], run_directory('a', 'b').name)\n"
        "print(os.getpid(), len(list(dead_runs(path.parent, open_run(path)))), path.name, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = [*container, *python(program, str(base))]
    with started(command) as first, started(command) as second:
        one, other = line_of(first).split(), line_of(second).split()

    assert ["1", "0"] == one[:2] == other[:2]
    assert one[2] != other[2]
    assert {one[2], other[2]} == {each.name for each in base.iterdir()}
