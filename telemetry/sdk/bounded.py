"""A call that may hang, in code of others: made in a thread of its own, and waited for only so long."""

import threading
from collections.abc import Callable


class BoundedCall(threading.Thread):
    """A call that was begun. One that outlasts its time goes on, and what it returns is lost.

    Without a thread, as at the end of the interpreter, the call is made at once, however long it takes.
    """

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        super().__init__(name=f"metrics-{name}", daemon=True)
        self._call = call
        self._has_ended = threading.Event()
        self._problem: BaseException | None = None
        try:
            self.start()
        except RuntimeError:
            self.run()

    def run(self) -> None:
        """Make the call."""
        try:
            self._call()
        except BaseException as problem:  # noqa: BLE001 - for whoever waits
            self._problem = problem
        finally:
            self._has_ended.set()

    def wait(self, seconds: float) -> None:
        """Wait for its end; raises TimeoutError, or what the call raised."""
        if not self._has_ended.wait(max(0.0, seconds)):
            raise TimeoutError("it has not ended in time")
        if self._problem is not None:
            raise self._problem
