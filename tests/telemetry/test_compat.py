"""The first implementation's functions, in a backend of its kind under a real server, and one by one."""

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from enum import Enum

import httpx
import pytest

from telemetry import compat
from telemetry.pipeline import Pipeline
from tests.telemetry.scraping import nonzero, parse, scrape, total, value


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the next call be the first one."""
    for key in [key for key in os.environ if key.startswith(("OTEL_", "AOSS_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setattr(compat, "_pipeline", None)
    yield
    if compat._pipeline is not None:
        compat._pipeline.shutdown()


@pytest.fixture(scope="module")
def legacy_backend() -> Iterator[str]:
    """Give the address of the legacy backend under uvicorn."""
    command = [sys.executable, "-m", "uvicorn", "tests.telemetry.legacy_backend:app", "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "AOSS_"))}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"running on (http://\S+)", line):
                break
        else:
            pytest.fail("uvicorn did not start")
        drain = threading.Thread(target=server.stderr.read)
        drain.start()
        yield found[1]
        server.terminate()
        server.wait(30)
        drain.join()


def test_a_legacy_backend_switches_by_its_import(legacy_backend: str) -> None:
    """Executions run through the old interface come out on /metrics and in the summary, to the unit."""
    with httpx.Client(base_url=legacy_backend, trust_env=False) as client:
        before = parse(client.get("/metrics").text)
        assert value(before, "aoss_executions_total", agent_type="network", server_tag="unknown") == 0.0
        for plan in (["ok", "fail", "ok"], ["ok", "crash"]):
            body = {"plan": plan, "agent_type": "network", "server_tag": "web-1"}
            assert client.post("/api/chat/execute", json=body).status_code == 200
        answer = client.get("/metrics")
        summary = client.get("/summary").json()
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    network = {"agent_type": "network"}
    assert nonzero(parse(answer.text)) == {
        (name, frozenset(labels.items())): number
        for name, labels, number in [
            ("aoss_executions_total", {**network, "server_tag": "web-1"}, 2.0),
            *(
                ("aoss_executions_completed_total", {**network, "server_tag": "web-1", "status": s}, 1.0)
                for s in ("Success", "Failed")
            ),
            ("aoss_execution_steps_total", {**network, "status": "Success"}, 3.0),
            ("aoss_execution_steps_total", {**network, "status": "Failed"}, 1.0),
            ("aoss_execution_errors_total", {**network, "error_type": "system_error"}, 1.0),
            ("aoss_execution_duration_seconds_count", {**network, "status": "Success"}, 1.0),
            ("aoss_execution_duration_seconds_count", {**network, "status": "Failed"}, 1.0),
            ("aoss_self_healing_attempts_total", {**network, "success": "true"}, 1.0),
            (
                "aoss_api_requests_total",
                {"method": "POST", "endpoint": "/api/chat/execute", "status_code": "200"},
                2.0,
            ),
            ("aoss_db_operations_total", {"operation": "select", "table": "servers"}, 2.0),
        ]
    }
    completed = summary["aoss_executions_completed_total"]
    assert completed["total"] == 2.0
    assert completed["by"]["status"] == {"Success": 1.0, "Failed": 1.0, "Cancelled": 0.0, "Interrupted": 0.0}
    assert summary["aoss_execution_duration_seconds"]["total"] == 2.0
    assert summary["aoss_active_executions"]["total"] == 0.0


def test_the_signatures_are_the_first_implementations() -> None:
    """Names, argument names and defaults are those of the contract, and every function is synchronous."""
    shapes = {
        name: {p.name: p.default for p in inspect.signature(function).parameters.values()}
        for name, function in inspect.getmembers(compat, inspect.isfunction)
        if name.startswith(("record_", "get_")) and not inspect.iscoroutinefunction(function)
    }
    required = inspect.Parameter.empty
    assert shapes == {
        "record_execution_start": {"agent_type": "general", "server_tag": "unknown"},
        "record_execution_complete": {
            "agent_type": "general",
            "server_tag": "unknown",
            "status": "Success",
            "duration_seconds": 0.0,
        },
        "record_execution_step": {"agent_type": "general", "status": "Success"},
        "record_execution_error": {"error_type": required, "agent_type": "general"},
        "record_self_healing": {"agent_type": "general", "success": True},
        "record_api_request": {"method": required, "endpoint": required, "status_code": required},
        "record_db_operation": {"operation": required, "table": required},
        "get_metrics": {},
        "get_metrics_summary": {},
    }


def started() -> Pipeline:
    assert compat._pipeline is not None
    return compat._pipeline


def test_defaults_are_recorded(fresh: None) -> None:
    """Calls without arguments count the general persona on an unknown server, a duration of 0 included."""
    compat.record_execution_start()
    assert value(scrape(started()), "aoss_active_executions", agent_type="general") == 1.0
    compat.record_execution_complete()
    compat.record_execution_step()
    series = scrape(started())
    labels = {"agent_type": "general", "status": "Success"}
    assert value(series, "aoss_execution_duration_seconds_count", **labels) == 1.0
    assert value(series, "aoss_executions_completed_total", server_tag="unknown", **labels) == 1.0
    assert value(series, "aoss_execution_steps_total", **labels) == 1.0
    assert value(series, "aoss_active_executions", agent_type="general") == 0.0


def test_the_first_calls_at_once_start_one_pipeline(fresh: None) -> None:
    """Threads that all make the first call share one pipeline, and no count is lost."""
    barrier = threading.Barrier(8)

    def call() -> None:
        barrier.wait()
        compat.record_execution_step()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(scrape(started()), "aoss_execution_steps_total") == 8.0


class Status(str, Enum):  # noqa: UP042 - a StrEnum would print as its value
    """The kind of enumeration that older code passes."""

    SUCCESS = "Success"


def test_odd_arguments_never_raise(fresh: None) -> None:
    """Values of any type are counted, in one series where their text is the same."""
    compat.record_self_healing(success="True")
    compat.record_self_healing(success=1)  # type: ignore[arg-type]
    compat.record_self_healing(success=False)
    compat.record_execution_step(status=Status.SUCCESS)
    compat.record_execution_error(None)  # type: ignore[arg-type]
    compat.record_execution_error("disk_error")
    compat.record_execution_complete(duration_seconds="soon", status="Odd")  # type: ignore[arg-type]
    compat.record_api_request("brew", "/x", "200")  # type: ignore[arg-type]
    compat.record_api_request("get", "/x", 200)
    compat.record_db_operation(b"x", object)  # type: ignore[arg-type]
    series = scrape(started())
    assert total(series, "aoss_self_healing_attempts_total", success="true") == 2.0
    assert total(series, "aoss_self_healing_attempts_total", success="false") == 1.0
    assert total(series, "aoss_execution_steps_total", status="Success") == 1.0
    assert total(series, "aoss_execution_errors_total", error_type="disk_error") == 1.0
    assert total(series, "aoss_execution_duration_seconds_count", status="Odd") == 1.0
    assert total(series, "aoss_api_requests_total", method="_OTHER", status_code="200") == 1.0
    assert total(series, "aoss_api_requests_total", method="GET", status_code="200") == 1.0
    assert json.loads(json.dumps(compat.get_metrics_summary()))["aoss_db_operations_total"]["total"] == 1.0


def test_bad_settings_of_our_own_fall_back(
    fresh: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad setting does not make a recording function raise: it is logged, and the default holds."""
    monkeypatch.setenv("AOSS_CARDINALITY_LIMIT", "lots")
    compat.record_execution_start()
    assert "AOSS_CARDINALITY_LIMIT='lots'" in caplog.text
    assert total(scrape(started()), "aoss_executions_total") == 1.0


class Hostile:
    """A value that raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError

    __float__ = __bool__ = __int__ = __str__


@pytest.mark.parametrize(
    "call",
    [
        lambda: compat.record_execution_start(agent_type=Hostile()),  # type: ignore[arg-type]
        lambda: compat.record_execution_complete(status=Hostile()),  # type: ignore[arg-type]
        lambda: compat.record_execution_step(status=Hostile()),  # type: ignore[arg-type]
        lambda: compat.record_execution_error(Hostile()),  # type: ignore[arg-type]
        lambda: compat.record_self_healing(success=Hostile()),  # type: ignore[arg-type]
        lambda: compat.record_api_request(Hostile(), "/", 200),  # type: ignore[arg-type]
        lambda: compat.record_db_operation("select", Hostile()),  # type: ignore[arg-type]
    ],
)
@pytest.mark.usefixtures("fresh")
def test_hostile_values_never_raise(call: Callable[[], None]) -> None:
    """No value that a caller passes makes a recording function raise."""
    call()


@pytest.mark.usefixtures("fresh")
def test_hostile_duration_leaves_the_execution_balanced() -> None:
    """An execution whose duration cannot be read is completed all the same, in every instrument."""
    compat.record_execution_start(agent_type="hostile")
    compat.record_execution_complete(agent_type="hostile", duration_seconds=Hostile())  # type: ignore[arg-type]
    summary = compat.get_metrics_summary()
    assert summary["aoss_executions_completed_total"]["by"]["agent_type"]["hostile"] == 1
    assert summary["aoss_execution_duration_seconds"]["by"]["agent_type"]["hostile"] == 1
    assert summary["aoss_active_executions"]["by"]["agent_type"]["hostile"] == 0
