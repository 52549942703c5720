"""The duties of a living worker: its heartbeat, its callbacks, folding the dead, leading the export."""

import logging
import threading
from collections.abc import Callable

_logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0


class Duty(threading.Thread):
    """A duty, done now and at every interval until stopped.

    One that fails is logged once, and tried again.
    """

    def __init__(self, name: str, interval_seconds: float, do: Callable[[], object]) -> None:
        super().__init__(name=f"metrics-{name}", daemon=True)
        self._interval = interval_seconds
        self._do = do
        self._is_to_stop = False  # Thread itself has an _is_stopped
        self._called = threading.Event()
        self._has_failed = False

    def run(self) -> None:
        """Do the duty."""
        while True:
            try:
                self._do()
            except Exception:
                if not self._has_failed:
                    self._has_failed = True
                    _logger.exception("metrics: %s failed; it is tried again", self.name)
            self._called.wait(self._interval)
            self._called.clear()
            if self._is_to_stop:
                return

    def wake(self) -> None:
        """Have the duty done now, rather than at the end of the interval."""
        self._called.set()

    def stop(self, timeout_seconds: float) -> None:
        """Ask it to stop, and wait for that."""
        self._is_to_stop = True
        self._called.set()
        # It has not been started where a signal handler shuts down that interrupts the start.
        if self.is_alive() and self is not threading.current_thread():
            self.join(max(0.0, timeout_seconds))
