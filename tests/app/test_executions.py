"""Executions on the local runner, as a client sees them, and what /metrics says of them."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.processes import marked, sleeping


def types(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events in order."""
    return [event["type"] for event in events]


def test_main_job(backend: BackendProcess) -> None:
    """A request is planned, its steps run for real, and they are counted on /metrics."""
    before = backend.total("aoss_execution_steps_total", agent_type="general", status="Success")
    plan = backend.plan("check the health of this server")
    events = backend.execute(*[step["command"] for step in plan])
    results = [event["result"] for event in events if event["type"] == "step_result"]
    assert [result["exit_code"] for result in results] == [0] * len(plan)
    assert all(result["stdout"] for result in results)
    assert events[-1]["final_status"] == "Success"
    after = backend.total("aoss_execution_steps_total", agent_type="general", status="Success")
    assert after - before == len(plan)


def test_order_and_shape_of_events(backend: BackendProcess) -> None:
    """Events come in the order that existing clients read, numbered without a gap."""
    with backend.execution("echo one", "echo two >&2") as (execution_id, stream):
        events = list(stream)
    assert types(events) == [
        "step_start",
        "step_result",
        "step_start",
        "step_result",
        "summarizing",
        "agent_summary",
        "complete",
    ]
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert {event["execution_id"] for event in events} == {execution_id}
    assert (events[0]["step"], events[0]["command"]) == (1, "echo one")
    assert events[1]["status"] == "success"
    result = events[3]["result"]
    shown = {key: result[key] for key in ("command", "exit_code", "stdout", "stderr", "status", "step")}
    assert shown == {
        "command": "echo two >&2",
        "exit_code": 0,
        "stdout": "",
        "stderr": "two\n",
        "status": "Success",
        "step": 2,
    }
    assert "worked" in events[5]["content"]
    assert (events[6]["log_id"], events[6]["final_status"]) == (execution_id, "Success")


def test_history(backend: BackendProcess) -> None:
    """The history of a server shows the newest execution first, with its plan, results and report."""
    events = backend.execute("echo remembered", query="what do you remember?")
    log = backend.http.get("/api/chat/history/1").json()["logs"][0]
    assert log["id"] == events[-1]["log_id"]
    assert log["query"] == "what do you remember?"
    assert log["status"] == "Success"
    assert [step["command"] for step in log["plan"]] == ["echo remembered"]
    assert [result["stdout"] for result in log["execution_results"]] == ["remembered\n"]
    assert log["agent_summary"] == events[-2]["content"]
    assert log["created_at"].endswith(("Z", "+00:00"))


def test_pages_of_executions(backend: BackendProcess) -> None:
    """The list of executions is paged, newest first, without gaps or repetitions."""
    ids = [backend.execute("true")[-1]["log_id"] for _ in range(3)]
    first = backend.http.get("/api/executions", params={"limit": 2}).json()
    second = backend.http.get("/api/executions", params={"limit": 2, "before": first["next"]}).json()
    listed = [each["id"] for each in first["executions"] + second["executions"]]
    assert listed[:3] == ids[::-1]


def test_attach_again_from_any_event(backend: BackendProcess) -> None:
    """Attaching after any event, before and after the end, gives exactly the events that followed."""
    with backend.execution("echo one", "sleep 1", "echo three") as (execution_id, stream):
        first = next(stream)
        during = backend.events(execution_id, after=1)
        whole = [first, *stream]
    assert during == whole[1:]
    for after in range(len(whole) + 2):
        assert backend.events(execution_id, after=after) == whole[after:]


def test_reader_that_goes_away_changes_nothing(backend: BackendProcess) -> None:
    """A reader that disconnects at any event leaves the execution to complete as Success."""
    completed = backend.total("aoss_executions_completed_total", status="Success")
    ids = []
    for events_read in range(8):
        with backend.execution("sleep 0.05", "sleep 0.05") as (execution_id, stream):
            ids.append(execution_id)
            for _ in range(events_read):
                next(stream, None)
    for execution_id in ids:
        wait_for(lambda each=execution_id: backend.status(each) != "Running")
    assert [backend.status(each) for each in ids] == ["Success"] * len(ids)
    assert backend.total("aoss_executions_completed_total", status="Success") - completed == len(ids)
    assert backend.total("aoss_active_executions") == 0


def test_cancel_stops_the_command_and_its_children(backend: BackendProcess) -> None:
    """A cancel ends the running command with its children, and the execution as Cancelled."""
    with backend.execution("sleep 4711.1 & setsid sleep 4711.1 | sleep 4711.1", "echo never") as (
        execution_id,
        stream,
    ):
        assert next(stream)["type"] == "step_start"
        wait_for(lambda: sleeping("4711.1") >= 3)
        asked = time.monotonic()
        answer = backend.http.post(f"/api/executions/{execution_id}/cancel")
        events = list(stream)
        took = time.monotonic() - asked
    assert answer.status_code == 202
    assert types(events) == ["step_result", "summarizing", "agent_summary", "complete"]
    assert events[0]["status"] == "failure"
    assert events[-1]["final_status"] == "Cancelled"
    assert took < 5, "a second is promised; the bound leaves room for a busy machine"
    assert len(marked("4711.1")) == 0
    assert backend.status(execution_id) == "Cancelled"
    again = backend.http.post(f"/api/executions/{execution_id}/cancel")
    assert again.status_code == 409
    assert backend.http.post(f"/api/executions/{'0' * 32}/cancel").status_code == 404


def test_accepted_cancel_is_kept_however_late(backend: BackendProcess) -> None:
    """A cancel answered with 202 ends the execution as Cancelled; one that comes too late gets 409."""
    answers: list[tuple[int, str]] = []
    for _ in range(30):
        with backend.execution("true") as (execution_id, stream):
            for event in stream:
                if event["type"] == "step_result":
                    answer = backend.http.post(f"/api/executions/{execution_id}/cancel").status_code
            answers.append((answer, event["final_status"]))
    assert set(answers) <= {(202, "Cancelled"), (409, "Success")}


def test_killed_command_keeps_its_signal(backend: BackendProcess) -> None:
    """A command that is killed shows the exit code and the signal, and counts as a command error."""
    before = backend.total("aoss_execution_errors_total", error_type="command_error")
    events = backend.execute("kill -9 $$")
    result = events[1]["result"]
    assert (result["exit_code"], result["signal"], result["status"]) == (137, "SIGKILL", "Failed")
    assert events[-1]["final_status"] == "Failed"
    assert backend.total("aoss_execution_errors_total", error_type="command_error") - before == 1


def test_healings_told_apart(backend: BackendProcess) -> None:
    """A healing that reaches the step's goal and one that does not are told apart on /metrics."""

    def attempts(success: str) -> float:
        return backend.total("aoss_self_healing_attempts_total", agent_type="general", success=success)

    good, bad = attempts("true"), attempts("false")
    healed = backend.execute(
        "d=$(mktemp -d) && mkdir $d/made && mkdir $d/made/sub && netstat-is-not-here || ifconfig-absent"
    )
    assert healed[-1]["final_status"] == "Failed"
    assert attempts("false") - bad == 1
    folder = Path("/tmp") / f"aoss-heal-{time.time_ns()}"
    folder.mkdir()
    try:
        healed = backend.execute(f"mkdir {folder}", f"rmdir {folder}")
    finally:
        if folder.exists():
            folder.rmdir()
    assert types(healed)[:6] == [
        "step_start",
        "step_result",
        "healing_start",
        "healing_plan",
        "step_start",
        "step_result",
    ]
    assert healed[4]["step"] == 999
    assert json.loads(healed[3]["stdout"])[0]["command"] == healed[4]["command"]
    assert healed[6] == healed[6] | {"type": "healing_result", "success": True}
    assert healed[-1]["final_status"] == "Success"
    assert attempts("true") - good == 1
    assert attempts("false") - bad == 1


def test_denied_command_does_not_run(backend: BackendProcess) -> None:
    """A destructive command fails its step with the rule and the reason, and is counted by rule."""
    events = backend.execute("echo before; rm -rf /", "echo after")
    assert events[0]["compliance"]["decision"] == "denied"
    rule = events[0]["compliance"]["rule"]
    result = events[1]["result"]
    assert (result["exit_code"], result["stdout"], result["error_type"]) == (126, "", "compliance_violation")
    assert rule in result["stderr"]
    assert events[-1]["final_status"] == "Failed"
    assert backend.total("aoss_compliance_checks_total", decision="denied", rule=rule) == 1


def test_command_time_limit(data_dir: Path) -> None:
    """A command that runs too long is ended with its children and counts as a time-out."""
    with running_backend(data_dir, {"AOSS_COMMAND_TIMEOUT_SECONDS": "0.5"}) as backend:
        events = backend.execute("sleep 4711.2 | cat")
        assert events[1]["result"]["error_type"] == "timeout_error"
        assert events[1]["result"]["exit_code"] == 124
        assert backend.total("aoss_execution_errors_total", error_type="timeout_error") == 1
        assert len(marked("4711.2")) == 0


def test_capacity(data_dir: Path) -> None:
    """Beyond the limit of active executions the answer is 429 with Retry-After, and nothing starts."""
    with running_backend(data_dir, {"AOSS_MAX_ACTIVE_EXECUTIONS": "1"}) as backend:
        with backend.execution("sleep 30") as (execution_id, stream):
            next(stream)
            body = {"serverId": 1, "query": "more", "plan": [{"command": "true"}]}
            refused = backend.http.post("/api/chat/execute", json=body)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert "AOSS_MAX_ACTIVE_EXECUTIONS" in refused.json()["detail"]
            backend.http.post(f"/api/executions/{execution_id}/cancel")
            list(stream)
        assert backend.execute("true")[-1]["final_status"] == "Success"
        assert backend.total("aoss_executions_total") == 2


def test_64_concurrent_executions_are_counted_exactly(backend: BackendProcess) -> None:
    """64 concurrent executions of 20 steps on one worker all complete, and their counts are exact."""
    executions, steps = 64, 20
    names = ("aoss_executions_total", "aoss_execution_steps_total", "aoss_execution_duration_seconds_count")
    before = {name: backend.total(name, agent_type="network") for name in names}
    finals: list[str] = []

    def run() -> None:
        finals.append(backend.execute(*["true"] * steps, agent_type="network")[-1]["final_status"])

    threads = [threading.Thread(target=run) for _ in range(executions)]
    backend.http.timeout = httpx.Timeout(100, pool=100)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert finals == ["Success"] * executions
    grown = {name: backend.total(name, agent_type="network") - before[name] for name in names}
    assert grown == {
        "aoss_executions_total": executions,
        "aoss_execution_steps_total": executions * steps,
        "aoss_execution_duration_seconds_count": executions,
    }
    assert backend.total("aoss_active_executions", agent_type="network") == 0
    completed = backend.total("aoss_executions_completed_total", agent_type="network", status="Success")
    assert completed == before["aoss_executions_total"] + executions


@pytest.mark.parametrize("command", ["printf 'a\\0b\\xff\\n'", "head -c 3000000 /dev/zero | tr '\\0' x"])
def test_odd_output_is_kept_readable(backend: BackendProcess, command: str) -> None:
    """Binary output becomes valid text and a flood is cut to its head and tail, here and in the store."""
    events = backend.execute(command)
    stdout = events[1]["result"]["stdout"]
    assert events[-1]["final_status"] == "Success"
    assert "\0" not in stdout
    assert len(stdout.encode()) <= 1024 * 1024 + 200
    assert backend.events(events[-1]["log_id"])[1]["result"]["stdout"] == stdout
