"""The one clock of the SDK, looked up at each call so that a test can set it."""

import time


def time_ns() -> int:
    """Return the time now, in Unix nanoseconds."""
    return time.time_ns()
