"""The two SDKs, made in one way."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider as OfficialMeterProvider

from telemetry.sdk import MeterProvider
from tests.conformance.run import ProviderFactory


def shared_memory_factory(parent: Path) -> ProviderFactory:
    """Return a factory of our providers, each with a run directory of its own."""

    def make(**keywords: Any) -> MeterProvider:
        number = sum(1 for _ in parent.iterdir())
        return MeterProvider(**keywords, directory=parent / str(number))

    return make


@pytest.fixture(params=["official", "shared_memory"])
def provider_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make providers of the one SDK or the other; those made are shut down in the end."""
    make: ProviderFactory = (
        OfficialMeterProvider if request.param == "official" else shared_memory_factory(tmp_path)
    )
    made = []

    def remember(**keywords: Any) -> Any:
        provider = make(shutdown_on_exit=False, **keywords)
        made.append(provider)
        return provider

    yield remember
    for provider in made:
        provider.shutdown()
