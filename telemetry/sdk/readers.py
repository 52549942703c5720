"""The readers of a provider: attached, collecting, and flushed or shut down together."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from opentelemetry.sdk.metrics import MetricsTimeoutError
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

from telemetry.sdk.bounded import BoundedCall
from telemetry.sdk.leadership import Leadership
from telemetry.sdk.reading import Attached, ExclusiveMerge, PullReader, collect
from telemetry.sdk.rundir import RunDirectory
from telemetry.sdk.views import ReaderConfig
from telemetry.sdk.worker import Worker

_logger = logging.getLogger(__name__)


class Readers:
    """The readers that are attached to a provider; those that push are given something by the leader only.

    `observe` is called before each collection with the seconds that it may take.
    """

    def __init__(self, run: RunDirectory, worker: Worker, observe: Callable[[float], object]) -> None:
        self.merge = ExclusiveMerge(run.path)
        self._run = run
        self._worker = worker
        self._observe = observe
        self._leadership = Leadership(run.path, lambda: worker.directory)
        self._attached: list[Attached] = []
        self._attached_ever = 0
        self._shutdown_deadline: float | None = None

    @property
    def configs(self) -> list[ReaderConfig]:
        """What each reader asks for."""
        return [each.config for each in self._attached]

    @property
    def pull(self) -> ReaderConfig:
        """What a scrape shows."""
        return next(each.config for each in self._attached if isinstance(each.reader, PullReader))

    def attach(self, reader: MetricReader, provider: Any) -> bool:
        """Attach a reader; False where it is attached already, ValueError where to another provider."""
        if any(each.reader is reader for each in self._attached):
            _logger.warning("MetricReader '%s' has been registered already!", reader)
            return False
        if reader._collect is not None:  # noqa: SLF001 - the SDK's own contract with readers
            raise ValueError(
                f"MetricReader {reader} has been registered already in other MeterProvider instance"
            )
        # A number is used once: what a delta reader was given last is kept under it.
        attached = Attached(reader, self._attached_ever)
        self._attached_ever += 1
        self._attached.append(attached)
        reader._set_collect_callback(partial(self._collect, attached))  # type: ignore[arg-type] # noqa: SLF001
        reader._set_meter_provider(provider)  # noqa: SLF001
        return True

    def detach(self, reader: MetricReader) -> bool:
        """Detach a reader; False where it is not attached."""
        found = [each for each in self._attached if each.reader is reader]
        if not found:
            _logger.warning("MetricReader '%s' has not been registered!", reader)
            return False
        self._attached.remove(found[0])
        reader._set_collect_callback(None)  # noqa: SLF001 - the SDK's own contract with readers
        return True

    def force_flush(self, timeout_seconds: float) -> bool:
        """Let every reader collect now; raises an Exception that names those that failed."""
        return self._each("force_flush", timeout_seconds)

    def shutdown(self, timeout_seconds: float) -> None:
        """Let every reader collect a last time and stop; raises an Exception that names those that failed."""
        self._shutdown_deadline = time.monotonic() + timeout_seconds
        self._each("shutdown", timeout_seconds)

    def close(self) -> None:
        """Close every file, and let another worker lead."""
        self.merge.close()
        self._leadership.release()

    def take_over(self) -> None:
        """Lead where the leader has died, and export at once: it may have died just before it would have."""
        push = [each for each in self._attached if each.is_push]
        if push and not self._leadership.is_held and self._leadership.take():
            for attached in push:
                attached.reader.collect()

    def forget(self) -> None:
        """Give up, in a forked child, what belongs to the parent."""
        self._leadership.forget()
        for attached in self._attached:
            attached.forget()
        self.merge.forget()

    def _collect(
        self, attached: Attached, _: MetricReader, timeout_millis: float = 10_000
    ) -> MetricsData | None:
        deadline = time.monotonic() + timeout_millis / 1000
        if self._shutdown_deadline is not None:
            # The thread of a periodic reader gives its last collection an interval, which may be too short.
            deadline = self._shutdown_deadline
        try:
            if self._worker.is_closed:
                _logger.warning("metrics: a reader of a provider that was shut down collects nothing")
                return None
            if attached.is_push and not self._may_export(deadline):
                return None
            self._observe(deadline - time.monotonic())
            left = deadline - time.monotonic()
            data = collect(attached, self.merge, self._run.resource(), self._run.path, left)
        except MetricsTimeoutError:
            raise
        except Exception:
            # The thread of a periodic reader would end.
            if not attached.has_failed:
                attached.has_failed = True
                _logger.exception("metrics: the collection of %s failed", type(attached.reader).__name__)
            return None
        attached.has_failed = False
        return data

    def _may_export(self, deadline: float) -> bool:
        if self._shutdown_deadline is not None:
            return self._leadership.take_last(deadline - time.monotonic())
        return self._leadership.take()

    def _each(self, call: str, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        readers = [attached.reader for attached in list(self._attached)]
        # In threads: an exporter that hangs would have the caller, and the other readers, wait for ever.
        calls = [
            BoundedCall(call, partial(getattr(reader, call), timeout_millis=timeout_seconds * 1000))
            for reader in readers
        ]
        failed = []
        for reader, running in zip(readers, calls, strict=True):
            try:
                running.wait(deadline - time.monotonic())
            except Exception as problem:  # noqa: BLE001 - named in the end
                failed.append(f"{type(reader).__name__}: {problem!r}")
        if failed:
            raise Exception(f"MeterProvider.{call} failed for these readers:\n" + "\n".join(failed))
        return True
