"""From the settings to a MeterProvider: resource, views, limits, exemplar filter, and what reads it."""

import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, ExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from telemetry import readers
from telemetry.catalogue import CATALOGUE, METER_NAME, Instrument
from telemetry.exemplars import ExecutionExemplarFilter
from telemetry.official import OfficialScrape
from telemetry.sdk import MeterProvider as SharedMemoryProvider
from telemetry.sdk import PerWorkerView, PullReader
from telemetry.settings import OFFICIAL_SDK, SHARED_MEMORY, TelemetrySettings

_logger = logging.getLogger(__name__)

_EXEMPLAR_FILTERS: dict[str, type[ExemplarFilter]] = {
    "trace_based": ExecutionExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
}


def build_provider(
    settings: TelemetrySettings, push_readers: Sequence[PeriodicExportingMetricReader]
) -> tuple[OfficialScrape | None, MeterProvider]:
    """Return the official exporter, None where ours serves, and the provider that the settings name."""
    common: dict[str, Any] = {
        "resource": _resource(settings),
        "views": _views(settings),
        "exemplar_filter": _EXEMPLAR_FILTERS[settings.exemplar_filter](),
        "shutdown_on_exit": False,
    }
    if settings.provider == SHARED_MEMORY:
        pull = PullReader(cardinality_limits=readers.cardinality_limits(settings.cardinality_limit))
        return None, SharedMemoryProvider([pull, *push_readers], directory=settings.directory, **common)
    scrape = OfficialScrape(settings.cardinality_limit) if "prometheus" in settings.exporters else None
    pull_readers = [scrape.reader] if scrape is not None else []
    if settings.provider == OFFICIAL_SDK:
        return scrape, SdkMeterProvider([*pull_readers, *push_readers], **common)
    # Somebody else's: what it cannot take is left out, and said.
    try:
        provider = metrics.get_meter_provider()
    except Exception:
        # The API raises StopIteration for a name that no distribution registers, and what an import raises.
        _logger.exception(
            "the meter provider %s cannot be had: %s is used instead", settings.provider, SHARED_MEMORY
        )
        return build_provider(replace(settings, provider=SHARED_MEMORY), push_readers)
    add = getattr(provider, "add_metric_reader", None)
    if add is None:
        _logger.warning("the meter provider %s takes no readers: nothing is shown", settings.provider)
        return None, provider
    for reader in [*pull_readers, *push_readers]:
        add(reader)
    return scrape, provider


def _resource(settings: TelemetrySettings) -> Resource:
    # What the operator names wins over what is found here.
    return Resource.create(
        {
            "service.version": service_version(),
            "process.pid": os.getpid(),
            "process.runtime.name": platform.python_implementation().lower(),
            "process.runtime.version": platform.python_version(),
            **(settings.resource_attributes or {}),
            "service.name": settings.service_name,
        }
    )


def _views(settings: TelemetrySettings) -> list[View]:
    return [
        *(_view(declaration, settings.cardinality_limit) for declaration in CATALOGUE),
        # A process is a worker's own: a sum over workers would hide the one that leaks.
        PerWorkerView(instrument_name="process.*"),
        # FastAPI measures by itself wherever a global provider is set, beside the instrumentation that we use
        # (mounted applications escape its check), and would put two scopes into one Prometheus family.
        View(meter_name="fastapi", aggregation=DropAggregation()),
        # The instrumentation keeps the last Content-Length seen for all later responses: wrong for streams.
        View(
            meter_name="opentelemetry.instrumentation.fastapi",
            instrument_name="http.server.response.body.size",
            aggregation=DropAggregation(),
        ),
    ]


def _view(declaration: Instrument, limit: int) -> View:
    return View(
        meter_name=METER_NAME,
        instrument_name=declaration.name,
        attribute_keys={attribute.key for attribute in declaration.attributes},
        aggregation=ExplicitBucketHistogramAggregation(declaration.buckets) if declaration.buckets else None,
        aggregation_cardinality_limit=max(limit, declaration.cardinality_limit),
    )


def service_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("aoss-telemetry")
    except PackageNotFoundError:
        return "unknown"
