"""A program that folds a copy of a directory again and again, each time killed one system call later.

It ends with status 0, and the number of kills on its standard output, if no total was ever wrong.
"""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from telemetry.sdk.archive import Folder
from telemetry.sdk.hooks import Correction, DeadWorker
from telemetry.sdk.provider import MeterProvider
from tests.telemetry.sdk.support_metrics import merged

DEAD = 2
_MOST_CALLS = 1000
_CALLS = {
    os: (
        *("open", "close", "pread", "pwrite", "posix_fallocate", "ftruncate", "fsync", "fstat"),
        *("rename", "unlink", "stat", "lstat", "scandir", "listdir", "kill", "readlink"),
    ),
    fcntl: ("flock",),
}


def die_after(number: int) -> None:
    """Have this process killed when so many of its system calls are done."""
    left = number
    kill = os.kill

    def stopping(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            try:
                return call(*arguments, **named)
            finally:
                left -= 1
                if left == 0:
                    kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for module, names in _CALLS.items():
        for name in names:
            setattr(module, name, stopping(getattr(module, name)))


def main(template: Path) -> None:
    """Fold copies of a directory with two dead workers, for whom a hook counts one interruption each."""
    provider = MeterProvider(directory=template / "unused", shutdown_on_exit=False)
    interrupted = provider.get_meter("test").create_counter("interrupted")

    def hook(_: DeadWorker) -> Iterable[Correction]:
        return [Correction(interrupted, 1, {"reason": "killed"})]

    def fold(directory: Path) -> int:
        return Folder(directory, [hook], provider._targets_of).fold()

    before = merged(template)
    after = {**before, "interrupted": {(("reason", "killed"),): DEAD}}
    directory = template.with_name("copy")
    committed = False
    for number in range(1, _MOST_CALLS):
        shutil.copytree(template, directory)
        child = os.fork()
        if child == 0:
            die_after(number)
            os._exit(0 if fold(directory) == DEAD else 1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
        seen = merged(directory)
        committed = committed or seen == after
        assert seen == (after if committed else before), f"killed after call {number}: {seen}"
        fold(directory)
        assert after == merged(directory), f"killed after call {number}, then folded"
        assert list(directory.glob("*.segment")) == []
        shutil.rmtree(directory)
        if os.WIFEXITED(status):
            sys.stdout.write(f"{number - 1}\n")
            return
    raise AssertionError("the fold has no end")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
