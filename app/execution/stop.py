"""A request to end an execution early."""

import asyncio

from telemetry.labels import ExecutionStatus


class StoppedError(Exception):
    """Say, inside the engine, that the execution was asked to stop."""


class Stop:
    """Carry the wish to end an execution, and the status it shall end with; the first wish wins."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.status: ExecutionStatus | None = None

    def request(self, status: ExecutionStatus) -> None:
        """Ask the execution to end as `Cancelled` or `Interrupted`."""
        if self.status is None:
            self.status = status
            self.event.set()
