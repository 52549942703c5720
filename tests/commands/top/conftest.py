"""One backend for the tests of `aoss top` that leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.support.backend import BackendProcess, running_backend


@pytest.fixture(scope="package")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Run a backend with two workers."""
    with running_backend(tmp_path_factory.mktemp("top") / "data", {"AOSS_WORKERS": "2"}) as running:
        yield running
