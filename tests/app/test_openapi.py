"""The API as its OpenAPI document describes it, attacked by schemathesis: whatever it invents, never a 500.

It runs the commands that it invents, so the runner is an unprivileged user's, in a throw-away directory.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from app.main import create_app
from app.runners.local import LocalRunner
from app.settings import Settings
from telemetry.settings import TelemetrySettings
from tests.support import used
from tests.support.backend import free_port

REQUEST_SECONDS = 20


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the schema of a running backend."""
    folder = tmp_path_factory.mktemp("openapi")
    work = Path("/tmp") / f"aoss-openapi-{os.getpid()}"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    unprivileged = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c")
    shell = unprivileged if os.geteuid() == 0 else ("bash", "-c")
    port = free_port()
    app = create_app(
        Settings.from_environment({"AOSS_DATA_DIR": str(folder), "AOSS_COMMAND_TIMEOUT_SECONDS": "0.3"}),
        TelemetrySettings.from_environment({}),
        runners={"local": LocalRunner(shell=shell, directory=work)},
    )
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    used.programs.add(f"schemathesis: {schemathesis.__version__}")
    yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    server.should_exit = True
    thread.join(60)
    for path in work.iterdir():
        path.unlink()
    work.rmdir()


def operations(api: Any) -> list[Any]:
    """Return every operation of the document."""
    return [found.ok() for found in api.get_all_operations()]


def keep_here(case: schemathesis.Case[Any]) -> None:
    """Let invented calls reach the registered server, and invented servers be on this machine only."""
    if not isinstance(case.body, dict):
        return
    if "serverId" in case.body:
        case.body["serverId"] = 1
    if case.path == "/api/servers":
        case.body["ipAddress"] = "127.0.0.1"
        case.body["sshPort"] = 1


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_never_a_500(api: Any, mode: GenerationMode) -> None:
    """Every operation answers every invented request, valid or not, with something better than 500."""
    asked: dict[str, Counter[int]] = {}
    for operation in operations(api):

        @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def attack(case: schemathesis.Case[Any]) -> None:
            keep_here(case)
            response = case.call(timeout=REQUEST_SECONDS)
            assert response.status_code != 500
            if response.status_code >= 400:
                assert response.json()["detail"]
            asked.setdefault(case.operation.label, Counter())[response.status_code] += 1

        with suppress(Unsatisfiable):  # an operation without parameters has no invalid requests
            attack()
    if mode is GenerationMode.POSITIVE:
        assert len(asked) == len(operations(api))
        assert asked["POST /api/chat/execute"][200] > 0
    else:
        assert asked["POST /api/chat/execute"][422] > 0
