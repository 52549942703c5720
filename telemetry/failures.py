"""What happens when telemetry itself fails: one log line, a count, and the measurement is dropped."""

import logging
import sys
from collections import Counter

_logger = logging.getLogger(__name__)


class Failures:
    """Count failures inside telemetry by kind and log the first of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def report(self, kind: str) -> None:
        """Count the exception being handled; the first of its kind is logged with its traceback."""
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            _logger.error(
                "telemetry failed at %s; further failures there are not logged", kind, exc_info=sys.exc_info()
            )
