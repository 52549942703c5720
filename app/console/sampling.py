"""One worker of a run samples what `/metrics` shows, so that every worker can serve the last 15 minutes."""

import asyncio
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache

import structlog

from app.console.ring import INTERVAL_SECONDS, Ring
from telemetry.catalogue import (
    ACTIVE_EXECUTIONS,
    EXECUTION_DURATION,
    EXECUTION_ERRORS,
    EXECUTION_STEPS,
    EXECUTIONS,
    EXECUTIONS_COMPLETED,
    SELF_HEALING_ATTEMPTS,
    Kind,
)

SAMPLED = (
    EXECUTIONS,
    EXECUTIONS_COMPLETED,
    ACTIVE_EXECUTIONS,
    EXECUTION_DURATION,
    EXECUTION_STEPS,
    EXECUTION_ERRORS,
    SELF_HEALING_ATTEMPTS,
)
FAMILIES = {
    each.prometheus_name: "histogram"
    if each.kind is Kind.HISTOGRAM
    else "gauge"
    if each.kind is Kind.UP_DOWN_COUNTER
    else "counter"
    for each in SAMPLED
}
# Servers are as many as people register: the charts show their sum.
SUMMED_OUT = "server_tag"

_LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
_SUFFIX = re.compile(r"_(bucket|count|sum)$")

log = structlog.get_logger(__name__)


class Sampling:
    """Add a sample to a ring at each multiple of the interval, where this worker is the one that samples.

    `scrape` returns the exposition's text and blocks. What fails is logged once, and tried again.
    """

    def __init__(self, ring: Ring, scrape: Callable[[], str]) -> None:
        self.ring = ring
        self._scrape = scrape
        self._has_complained = False
        self._sampling = threading.Lock()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sampling."""
        self._task = asyncio.create_task(self._run(), name="sampling")

    async def stop(self) -> None:
        """Stop, and let another worker go on."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        # A cancelled task leaves its thread behind, which may be writing.
        with self._sampling:
            self._is_over = True
            self.ring.close()

    async def _run(self) -> None:
        while True:
            await asyncio.to_thread(self.sample)
            # At the same moments in every worker: whoever takes over continues the steps.
            await asyncio.sleep(INTERVAL_SECONDS - time.time() % INTERVAL_SECONDS)

    def sample(self) -> None:
        """Take one sample, if this worker is to."""
        try:
            with self._sampling:
                if not self._is_over and self.ring.claim():
                    now = time.time()
                    self.ring.append(now, reduced(self._scrape()))
        except Exception:
            if not self._has_complained:
                self._has_complained = True
                log.exception("the console's charts miss samples")
        else:
            self._has_complained = False


def reduced(exposition: str) -> dict[str, float]:
    """Return the sampled families' series that are not 0, by name and labels as exposed, servers summed."""
    values: defaultdict[str, float] = defaultdict(float)
    for series, value in _series(exposition):
        values[series] += value
    return {series: int(value) if value.is_integer() else value for series, value in values.items() if value}


def _series(exposition: str) -> Iterator[tuple[str, float]]:
    for line in exposition.splitlines():
        if line.startswith("aoss_"):
            series, _, value = line.rpartition(" ")
            if key := _key(series):
                yield key, float(value)


@lru_cache(maxsize=50_000)  # series are for ever, and taking one apart costs ten times what finding it does
def _key(series: str) -> str | None:
    """Return a series without its server, None for one that is not sampled."""
    name, _, labels = series.partition("{")
    if name not in FAMILIES and FAMILIES.get(_SUFFIX.sub("", name)) != "histogram":
        return None
    kept = ",".join(label[0] for label in _LABEL.finditer(labels) if label[1] != SUMMED_OUT)
    return f"{name}{{{kept}}}" if kept else name
