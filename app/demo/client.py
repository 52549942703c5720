"""The backend's HTTP API as the demo uses it; what goes wrong is said in words for the user."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx2

from app.commands.errors import CommandError
from app.demo.scenarios import Scenario
from app.fetching import plain

WAIT_SECONDS = 10.0
# A running command sends nothing until it ends; those of the demo end within half a minute.
STREAM_SECONDS = 120.0
RETRY_SECONDS = 2.0


class BusyError(CommandError):
    """Report that the backend runs as many executions as it may; `seconds` says when to ask again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class BackendClient:
    """The API of one backend."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        self._key = key
        self._http = httpx2.AsyncClient(
            base_url=url,
            timeout=WAIT_SECONDS,
            trust_env=False,
            verify=ssl.create_default_context(),
            headers={"User-Agent": "aoss", **({"Authorization": f"Bearer {key}"} if key else {})},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def local_server(self) -> int:
        """Return the id of the server that the backend itself runs on."""
        answer = await self._ask("GET", "/api/servers")
        servers = answer.get("servers") if isinstance(answer, dict) else None
        if not isinstance(servers, list):
            raise CommandError(
                f"{self._url} answers, but not as an AOSS backend would: is it the right address?"
            )
        for server in servers:
            if server["runner"] == "local":
                return int(server["id"])
        raise CommandError(f"{self._url} has no local server to run on: start it with AOSS_LOCAL_RUNNER=true")

    async def plan(self, server: int, agent_type: str, request: str) -> list[dict[str, Any]] | None:
        """Return the plan for a request, None where the planner knows none."""
        body = {"serverId": server, "agent_type": agent_type, "query": request}
        response = await self._send("POST", "/api/chat/plan", body)
        if response.status_code == 422:
            return None
        self._check(response)
        plan: list[dict[str, Any]] = response.json()["plan"]
        return plan

    @asynccontextmanager
    async def execute(
        self, server: int, scenario: Scenario, plan: list[dict[str, Any]]
    ) -> AsyncIterator[tuple[str, AsyncIterator[dict[str, Any]]]]:
        """Start an execution and give its id and its events; raises BusyError and CommandError."""
        body = {
            "serverId": server,
            "agent_type": scenario.agent_type,
            "query": scenario.request,
            "plan": plan,
        }
        try:
            async with self._http.stream(
                "POST",
                "/api/chat/execute",
                json=body,
                timeout=httpx2.Timeout(WAIT_SECONDS, read=STREAM_SECONDS),
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    self._check(response)
                yield (
                    response.headers["X-Execution-Id"],
                    (json.loads(line) async for line in response.aiter_lines()),
                )
        except httpx2.HTTPError as error:
            raise self._gone(error) from error

    async def cancel(self, execution: str) -> None:
        """Cancel an execution, unless it has ended."""
        response = await self._send("POST", f"/api/executions/{execution}/cancel")
        if response.status_code != 409:
            self._check(response)

    async def _ask(self, method: str, path: str) -> Any:
        response = await self._send(method, path)
        self._check(response)
        try:
            return response.json()
        except ValueError:
            return None

    async def _send(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        try:
            return await self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise self._gone(error) from error

    def _gone(self, error: httpx2.HTTPError) -> CommandError:
        return CommandError(f"{self._url} does not answer: {plain(error)}. `aoss serve` starts a backend.")

    def _check(self, response: httpx2.Response) -> None:
        if response.is_success:
            return
        match response.status_code:
            case 401 if self._key:
                why = "the key is not the right one"
            case 401:
                why = "it wants its key: give --token-file, or set AOSS_API_KEY"
            case 404 if response.request.url.path == "/api/servers":
                why = "that is no AOSS backend, or not its address"
            case _:
                why = _detail(response)
        message = f"{self._url} answers {response.status_code}: {why}"
        if response.status_code == 429:
            wait = response.headers.get("Retry-After", "")
            raise BusyError(message, float(wait) if wait.isdigit() else RETRY_SECONDS)
        raise CommandError(message)


def _detail(response: httpx2.Response) -> str:
    try:
        said = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = response.reason_phrase
    return "".join(each if each.isprintable() else "?" for each in said[:300])
