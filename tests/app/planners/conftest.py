"""The fixture of the language-model planner's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.app.planners.model_bench import Bench, bench_with


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Provide a server and a planner with the usual settings."""
    async with bench_with() as running:
        yield running
