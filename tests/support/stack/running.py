"""A real server as a child process: started on a free port, awaited, stopped, killed, started again."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class Server:
    """A server that speaks HTTP at `url` and is up once `ready_path` answers 200.

    Leaving the block stops it. `start` after `stop` or `kill` gives the same port and the same data.
    """

    ready_path = "/-/ready"

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        ready_url: str | None = None,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._command = list(command)
        self._log_path = log_path
        self._environment = dict(environment) if environment is not None else None
        self._ready_url = ready_url or f"{self.url}{self.ready_path}"
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.http.close()

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        assert self.process is None, "it runs already"
        with self._log_path.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(self._ready_url, timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"{self._command[0]} did not become ready:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """Stop the server as a service manager would; one that does not end in time is killed."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        self.process = None

    def kill(self) -> None:
        """Kill the server as the kernel would."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(timeout=10)
        self.process = None

    @property
    def log(self) -> str:
        """Return what the server has logged, over all its starts."""
        return self._log_path.read_text(errors="replace")

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON that a GET answers; an answer that is not 2xx fails with its text."""
        answer = self.http.get(
            path, params={key: value for key, value in parameters.items() if value is not None}
        )
        assert answer.is_success, f"{answer.url}: {answer.status_code}: {answer.text}"
        return answer.json()
