"""The run that all tests of this package judge."""

from collections.abc import Iterator

import pytest

from tests.stack.deployment import deployed
from tests.stack.evidence import Run
from tests.stack.phases import performed
from tests.support.sshd import running_sshd
from tests.support.stack.programs import ProgramUnavailableError


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run everything once; Prometheus can be asked about all of it afterwards."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "sshd").mkdir()
    try:
        with (
            deployed(folder) as deployment,
            running_sshd(folder / "sshd") as sshd,
            performed(deployment, sshd) as run,
        ):
            yield run
    except ProgramUnavailableError as error:
        pytest.skip(str(error))
