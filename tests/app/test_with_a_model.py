"""Planning and healing by a language model, through the whole backend, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import openai_server as model
from tests.support.backend import BackendProcess, running_backend
from tests.support.openai_server import OpenAIServer, Reply, openai_server

KEY = "sk-throw-away-s3cr3t"


@asynccontextmanager
async def backend_with(server: OpenAIServer, data_dir: Path) -> AsyncIterator[BackendProcess]:
    """Run a backend that plans with the server's models."""
    running = running_backend(
        data_dir,
        {
            "AOSS_LLM_BASE_URL": server.base_url,
            "AOSS_LLM_API_KEY": KEY,
            "AOSS_LLM_MODEL": "small",
            "AOSS_LLM_MODELS": "large",
            "AOSS_GENAI_METRICS": "true",
        },
    )
    backend = await asyncio.to_thread(running.__enter__)
    try:
        yield backend
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


def ask(backend: BackendProcess, **fields: Any) -> tuple[int, dict[str, Any]]:
    """Ask for a plan."""
    body = {"serverId": 1, "query": "is it up?", "agent_type": "security"} | fields
    answer = backend.http.post("/api/chat/plan", json=body)
    return answer.status_code, answer.json()


async def test_plan_execute_and_heal(data_dir: Path) -> None:
    """A model plans, its plan runs, and a failing step is healed by the model's recovery."""
    async with openai_server() as server, backend_with(server, data_dir) as backend:
        server.replies.append(model.plan(("uptime", False), ("cat /nowhere/at-all", False)))
        status, body = await asyncio.to_thread(ask, backend)
        assert status == 200
        assert [step["command"] for step in body["plan"]] == ["uptime", "cat /nowhere/at-all"]
        server.replies.append(model.recovery(("echo found instead", False, True)))
        events = await asyncio.to_thread(
            backend.execute, *[step["command"] for step in body["plan"]], agent_type="security"
        )
        assert events[-1]["final_status"] == "Success"
        plan = next(event for event in events if event["type"] == "healing_plan")
        assert json.loads(plan["stdout"])[0]["command"] == "echo found instead"
        assert "/nowhere/at-all" in server.requests[1].prompt
        samples = await asyncio.to_thread(backend.samples)
        named = {name: value for (name, labels), value in samples.items()}
        assert named["gen_ai_client_operation_duration_seconds_count"] == 2
        assert await asyncio.to_thread(backend.total, "aoss_self_healing_attempts_total", success="true") == 1
        assert await asyncio.to_thread(ask, backend, model="huge") == (
            422,
            {"detail": "model 'huge' is not configured; available: small, large"},
        )
        server.replies.append(model.plan(("true", False)))
        assert (await asyncio.to_thread(ask, backend, model="large"))[0] == 200
        assert server.requests[-1].body["model"] == "large"
        assert KEY not in backend.log


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ([model.refusal("I will not")], "I will not"),
        ([model.completion("no json")] * 3, "JSON"),
        ([model.error(401)], "AOSS_LLM_API_KEY"),
        ([model.error(404)], "AOSS_LLM_MODEL"),
    ],
    ids=["refusal", "malformed", "key", "model"],
)
async def test_planner_error(data_dir: Path, replies: list[Reply], words: str) -> None:
    """A refusal, a malformed answer or a wrong setting is a planner error with a clear message."""
    async with openai_server() as server, backend_with(server, data_dir) as backend:
        server.replies.extend(replies)
        status, body = await asyncio.to_thread(ask, backend)
        assert status == 502
        assert words in body["detail"]
        assert KEY not in json.dumps(body)
        counted = await asyncio.to_thread(
            backend.total,
            "aoss_execution_errors_total",
            error_type="planner_error",
            agent_type="security",
        )
        assert counted == 1


async def test_planner_error_during_healing(data_dir: Path) -> None:
    """A model that fails while a step is healed leaves a failed execution, an error event and its count."""
    async with openai_server() as server, backend_with(server, data_dir) as backend:
        server.replies.append(model.refusal("I will not heal"))
        events = await asyncio.to_thread(backend.execute, "exit 3")
        error = next(event for event in events if event["type"] == "error")
        assert "I will not heal" in error["result"]["stderr"]
        assert events[-1]["final_status"] == "Failed"
        counted = await asyncio.to_thread(
            backend.total, "aoss_execution_errors_total", error_type="planner_error"
        )
        assert counted == 1
