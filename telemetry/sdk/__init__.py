"""A metrics SDK over shared memory, behind the OpenTelemetry Meter API.

One set of numbers for all workers.
"""

from telemetry.sdk.hooks import Correction, DeadWorker
from telemetry.sdk.provider import MeterProvider
from telemetry.sdk.reading import PullReader
from telemetry.sdk.run import DirectoryRefusedError
from telemetry.sdk.views import PerWorkerView

__all__ = [
    "Correction",
    "DeadWorker",
    "DirectoryRefusedError",
    "MeterProvider",
    "PerWorkerView",
    "PullReader",
]
