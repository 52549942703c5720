"""A local server that speaks the OpenAI chat-completions protocol over real sockets, as each test scripts it.

async with openai_server() as server:
    server.replies.append(plan(("uptime", False)))
    ...  # ask at server.base_url
    assert server.requests[0].body["model"] == "m"
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any


class Ending(Enum):
    """What happens after the body of a reply has been sent."""

    WHOLE = "whole"
    DROPPED = "dropped"
    ENDLESS = "endless"
    SILENT = "silent"


@dataclass(frozen=True)
class Reply:
    """One scripted reply; the bytes of the body are sent as they are."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    raw_body: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Return the decoded JSON body."""
        decoded: dict[str, Any] = json.loads(self.raw_body)
        return decoded

    @property
    def prompt(self) -> str:
        """Return the text of all messages."""
        return "\n".join(message["content"] for message in self.body["messages"])


def completion(
    content: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    usage: dict[str, Any] | None = None,
) -> Reply:
    """Return a chat completion with one choice; without `usage` it has taken 11 tokens and given 7."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "whatever-was-loaded",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        if usage is None
        else usage,
    }
    return Reply(json.dumps(body).encode())


def plan(*steps: tuple[str, bool]) -> Reply:
    """Return a plan of steps given as (command, changes)."""
    return completion(
        json.dumps(
            {
                "steps": [
                    {"command": command, "description": f"Run {command}", "changes": changes}
                    for command, changes in steps
                ]
            }
        )
    )


def recovery(*steps: tuple[str, bool, bool]) -> Reply:
    """Return a recovery of steps given as (command, changes, replaces)."""
    return completion(
        json.dumps(
            {
                "steps": [
                    {
                        "command": command,
                        "description": f"Run {command}",
                        "changes": changes,
                        "replaces": replaces,
                    }
                    for command, changes, replaces in steps
                ]
            }
        )
    )


def refusal(words: str) -> Reply:
    """Return an answer in which the model refuses."""
    return completion(None, refusal=words)


def no_choices() -> Reply:
    """Return a chat completion without an answer."""
    return Reply(b'{"id": "chatcmpl-1", "object": "chat.completion", "choices": []}')


def error(status: int, message: str = "scripted", *, headers: dict[str, str] | None = None) -> Reply:
    """Return an error in the protocol's own shape."""
    body = {"error": {"message": message, "type": "scripted", "param": None, "code": None}}
    return Reply(json.dumps(body).encode(), status, headers or {})


def schema_unsupported() -> Reply:
    """Return the refusal of a server that does not know `json_schema`."""
    return error(400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported here.")


def silence() -> Reply:
    """Return a reply that never comes."""
    return Reply(ending=Ending.SILENT)


def dropped() -> Reply:
    """Return a reply whose connection is lost in the middle of its body."""
    return Reply(b'{"id": "chatcmpl-1", "choi', ending=Ending.DROPPED)


def endless() -> Reply:
    """Return a reply whose body has no end."""
    return Reply(b'{"id": "', ending=Ending.ENDLESS)


class OpenAIServer:
    """The server while it runs: script `replies`, read `requests`.

    Once the scripted replies are used up, `otherwise` makes them. `hung_up` counts the clients that left
    before their reply was complete.
    """

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.requests: list[Request] = []
        self.hung_up = 0
        self.base_url = ""
        self.otherwise: Callable[[Request], Awaitable[Reply]] = _nothing_scripted
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def received(self, count: int) -> None:
        """Wait until `count` requests have arrived."""
        while len(self.requests) < count:  # noqa: ASYNC110 # a test can wait a hundredth of a second
            await asyncio.sleep(0.01)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which carries one request."""
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            request = await _read(reader)
            self.requests.append(request)
            reply = self.replies.popleft() if self.replies else await self.otherwise(request)
            await self._send(reply, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up += 1
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            del self._connections[task]

    async def stop(self) -> None:
        """End the connections that are still open."""
        handlers = list(self._connections)
        # Aborted, not cancelled: asyncio reports a cancelled handler as an error of the loop.
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*handlers)

    async def _send(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reply.ending is Ending.SILENT:
            if not await reader.read():
                raise ConnectionResetError
            return
        headers = {"Content-Type": "application/json", "Connection": "close", **reply.headers}
        if reply.ending is not Ending.ENDLESS:
            missing = 1000 if reply.ending is Ending.DROPPED else 0
            headers["Content-Length"] = str(len(reply.body) + missing)
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + reply.body)
        await writer.drain()
        while reply.ending is Ending.ENDLESS:
            writer.write(b"x" * 65536)
            await writer.drain()


async def _nothing_scripted(_: Request) -> Reply:
    return error(400, "the test has scripted no reply")


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


@asynccontextmanager
async def openai_server() -> AsyncIterator[OpenAIServer]:
    """Run a server on a free loopback port; `base_url` is what a client is configured with."""
    server = OpenAIServer()
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, limit=1024 * 1024)
    port = listener.sockets[0].getsockname()[1]
    server.base_url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        listener.close()
        await server.stop()
        await listener.wait_closed()
