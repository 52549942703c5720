"""A process of its own for each thing that is measured: none pays for another's threads or memory.

The other half of `Subject` is this file's `main`: one JSON text a line, in by standard input, out by standard
output.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

_PATIENCE_SECONDS = 30

Answer = Callable[..., Any]


class Subject:
    """A child process that does what it is asked, one thing at a time; raises RuntimeError when it has died.

    `factory` is "module:function" and returns, when called with `arguments` in the child, a dictionary of
    functions. `environment` is added to the child's before anything is imported there.
    """

    def __init__(self, factory: str, *arguments: Any, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, factory, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._factory = factory

    def tell(self, name: str, *arguments: Any) -> None:
        """Ask for something without waiting; `hear` must follow."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
            self._process.stdin.flush()

    def hear(self) -> Any:
        """Return the answer to the earliest question that has none yet."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = f"{self._factory} has died, status {self._process.wait()}"
            raise RuntimeError(message)
        return json.loads(line)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Ask and wait for the answer."""
        self.tell(name, *arguments)
        return self.hear()

    def kill(self) -> None:
        """End the process as SIGKILL does."""
        self._process.kill()
        self._process.wait()
        self._close_pipes()

    def close(self) -> None:
        """Let the process end, and wait for that."""
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(factory: str, arguments: str) -> None:
    """Answer the questions of the parent until it closes the pipe."""
    # Whatever else prints in this process must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, function = factory.partition(":")
    known: Mapping[str, Answer] = getattr(importlib.import_module(module), function)(*json.loads(arguments))
    for line in sys.stdin:
        name, *rest = json.loads(line)
        answers.write(json.dumps(known[name](*rest)) + "\n")
        answers.flush()
    if "close" in known:
        known["close"]()


if __name__ == "__main__":
    main(*sys.argv[1:])
