"""What /metrics says of the backend: one worker that is not killed."""

from pathlib import Path

import pytest

from app.compliance.compliance import Compliance
from telemetry.labels import AgentType, ErrorType, ExecutionStatus, StepStatus
from tests.support.backend import BackendProcess, running_backend
from tests.support.promtool import check_metrics
from tests.support.stack.programs import ProgramUnavailableError

REQUESTS = {
    AgentType.GENERAL: "check the health of this server",
    AgentType.NETWORK: "show the open ports",
    AgentType.DATABASE: "is postgresql running",
    AgentType.SECURITY: "audit the users",
}


def test_every_known_series_exists_before_its_first_event(data_dir: Path) -> None:
    """The first scrape of a new backend shows every known series at 0, localhost's included."""
    with running_backend(data_dir) as backend:
        samples = backend.samples()

    def series(name: str, **labels: str) -> float | None:
        return samples.get((name, frozenset(labels.items())))

    for agent in AgentType:
        for tag in ("unknown", "localhost"):
            assert series("aoss_executions_total", agent_type=agent, server_tag=tag) == 0
            for status in ExecutionStatus:
                labels = {"agent_type": agent, "server_tag": tag, "status": status}
                assert series("aoss_executions_completed_total", **labels) == 0
        for step in StepStatus:
            assert series("aoss_execution_steps_total", agent_type=agent, status=step) == 0
        for error in ErrorType:
            assert series("aoss_execution_errors_total", agent_type=agent, error_type=error) == 0
        for success in ("true", "false"):
            assert series("aoss_self_healing_attempts_total", agent_type=agent, success=success) == 0
        assert series("aoss_active_executions", agent_type=agent) == 0
        for rule in Compliance.load().rules:
            if rule != "none":
                denied = {"agent_type": agent, "decision": "denied", "rule": rule}
                assert series("aoss_compliance_checks_total", **denied) == 0
        allowed = {"agent_type": agent, "decision": "allowed", "rule": "none"}
        assert series("aoss_compliance_checks_total", **allowed) == 0


@pytest.mark.parametrize("agent", list(AgentType))
def test_a_plan_of_each_persona(backend: BackendProcess, agent: AgentType) -> None:
    """A plan from each persona's runbooks runs to its end, and is counted under that persona alone."""
    others = backend.total("aoss_executions_total") - backend.total("aoss_executions_total", agent_type=agent)
    plan = backend.plan(REQUESTS[agent], agent)
    events = backend.execute(*[step["command"] for step in plan], agent_type=agent)
    assert events[-1]["final_status"] == "Success"
    assert backend.total("aoss_executions_completed_total", agent_type=agent, status="Success") == 1
    assert backend.total("aoss_execution_steps_total", agent_type=agent, status="Success") == len(plan)
    now = backend.total("aoss_executions_total") - backend.total("aoss_executions_total", agent_type=agent)
    assert now == others


def test_invariants_after_mixed_executions(backend: BackendProcess) -> None:
    """Started equals completed plus active, and durations equal completions, for each persona and status."""
    for agent in AgentType:
        backend.execute("true", agent_type=agent)
        backend.execute("exit 3", agent_type=agent)
        backend.execute("rm -rf /", agent_type=agent)
        with backend.execution("sleep 30", agent_type=agent) as (execution_id, stream):
            next(stream)
            active = backend.total("aoss_active_executions", agent_type=agent)
            started = backend.total("aoss_executions_total", agent_type=agent)
            completed = backend.total("aoss_executions_completed_total", agent_type=agent)
            assert (active, started) == (1, completed + 1)
            backend.http.post(f"/api/executions/{execution_id}/cancel")
            list(stream)
    for agent in AgentType:
        started = backend.total("aoss_executions_total", agent_type=agent)
        assert started == backend.total("aoss_executions_completed_total", agent_type=agent)
        assert backend.total("aoss_active_executions", agent_type=agent) == 0
        for status in ExecutionStatus:
            labels = {"agent_type": agent, "status": status}
            timed = backend.total("aoss_execution_duration_seconds_count", **labels)
            assert timed == backend.total("aoss_executions_completed_total", **labels)
        assert backend.total("aoss_executions_completed_total", agent_type=agent, status="Cancelled") == 1


def test_requests_are_counted_by_template(backend: BackendProcess) -> None:
    """Requests count under the route's template, unrouted ones together, and scrapes not at all."""
    backend.http.get("/api/server/1")
    backend.http.get("/api/server/999")
    backend.http.get("/wp-admin/setup.php")
    backend.http.request("BREW", "/api/server/1")
    backend.http.get("/api/servers", headers={"Host": "evil.example"})

    def requests(**labels: str) -> float:
        return backend.total("aoss_api_requests_total", **labels)

    template = "/api/server/{server_id}"
    assert requests(method="GET", endpoint=template, status_code="200") == 1
    assert requests(method="GET", endpoint=template, status_code="404") == 1
    assert requests(endpoint="unmatched", status_code="404") == 1
    assert requests(method="_OTHER") == 1
    assert requests(endpoint="/api/servers", status_code="400") == 1
    endpoints = {
        dict(labels).get("endpoint")
        for name, labels in backend.samples()
        if name == "aoss_api_requests_total"
    }
    assert endpoints.isdisjoint({"/metrics", "/healthz", "/readyz", "/wp-admin/setup.php"})
    assert backend.total("http_server_request_duration_seconds_count", http_route=template) >= 2
    labels = {key for name, pairs in backend.samples() if name.startswith("http_") for key, _ in pairs}
    assert labels.isdisjoint({"http_host", "server_address", "http_target"})


def test_statements_are_counted(backend: BackendProcess) -> None:
    """Statements count by operation and table."""
    before = backend.total("aoss_db_operations_total", operation="insert", table="executions")
    backend.execute("true")
    after = backend.total("aoss_db_operations_total", operation="insert", table="executions")
    assert after - before == 1
    assert backend.total("aoss_db_operations_total", operation="insert", table="execution_events") >= 1
    assert backend.total("aoss_db_operations_total", operation="select", table="servers") >= 1


def test_promtool_accepts_the_scrape(backend: BackendProcess) -> None:
    """Prometheus' own checker has nothing to say against the exposition."""
    backend.execute("true")
    scrape = backend.http.get("/metrics")
    assert scrape.headers["content-type"].startswith("text/plain; version=0.0.4")
    try:
        assert check_metrics(scrape.content) == []
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


def test_without_measurements(data_dir: Path) -> None:
    """With the SDK disabled the backend works, and /metrics is empty."""
    with running_backend(data_dir, {"OTEL_SDK_DISABLED": "true"}) as backend:
        assert backend.execute("true")[-1]["final_status"] == "Success"
        scrape = backend.http.get("/metrics")
        assert (scrape.status_code, scrape.text.strip()) == (200, "")
