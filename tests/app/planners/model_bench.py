"""What the tests of the language-model planner share: a server, and a planner that asks it over the wire."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from app.planners import model_planner
from app.planners.model_planner import ModelCall, ModelPlanner, ModelSettings
from app.planners.plan import Failure, PlanRequest
from telemetry.labels import AgentType, ErrorType
from tests.support.openai_server import OpenAIServer, Reply, openai_server

KEY = "sk-throw-away-0123456789"
FAILURE = Failure("netstat -tln", "List the ports", 127, "", "netstat: not found", ErrorType.COMMAND)


def request(
    query: str = "What listens here?",
    agent_type: AgentType = AgentType.NETWORK,
    *,
    model: str | None = None,
    allow_changes: bool = False,
) -> PlanRequest:
    """Return a request as the API would make it."""
    return PlanRequest(query, agent_type, "web-01", allow_changes=allow_changes, model=model)


class Bench:
    """A server, a planner that asks it, and the calls that the planner reported."""

    def __init__(self, server: OpenAIServer, planner: ModelPlanner, calls: list[ModelCall]) -> None:
        self.server = server
        self.planner = planner
        self.calls = calls

    def will(self, *replies: Reply) -> None:
        """Script the next replies."""
        self.server.replies.extend(replies)

    @property
    def error_types(self) -> list[str | None]:
        """Return what the reported calls said went wrong."""
        return [call.error_type for call in self.calls]


@asynccontextmanager
async def bench_with(**settings: Any) -> AsyncIterator[Bench]:
    """Run a server and a planner."""
    calls: list[ModelCall] = []
    async with openai_server() as server, _quick_and_direct():
        values = {"base_url": server.base_url, "api_key": KEY, "models": ("m-default", "m-other"), **settings}
        planner = ModelPlanner(ModelSettings(**values), calls.append)
        try:
            yield Bench(server, planner, calls)
        finally:
            await planner.aclose()


@asynccontextmanager
async def _quick_and_direct() -> AsyncIterator[None]:
    # A proxy of the machine that runs the tests is not for loopback.
    with patch.object(model_planner, "_BACKOFF_SECONDS", 0.01), patch.dict(os.environ, NO_PROXY="127.0.0.1"):
        yield
