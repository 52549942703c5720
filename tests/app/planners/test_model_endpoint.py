"""Calls to a language model: what they carry, how they fail, and how they are reported."""

import asyncio
from typing import Any

import pytest

from app.errors import PlannerError
from app.planners.model_planner import ModelSettings
from tests.app.planners.model_bench import FAILURE, KEY, Bench, bench_with, request
from tests.support.openai_server import Reply, completion, endless, error, openai_server, plan


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "a redirect: set AOSS_LLM_BASE_URL"),
        (400, r"HTTP 400: check AOSS_LLM_MODEL\. It said: scripted"),
        (401, "HTTP 401: check AOSS_LLM_API_KEY$"),
        (403, "HTTP 403: check AOSS_LLM_API_KEY$"),
        (404, "HTTP 404: check AOSS_LLM_MODEL and AOSS_LLM_BASE_URL"),
    ],
)
async def test_final_status(bench: Bench, status: int, words: str) -> None:
    """A status that says what is misconfigured is told with the setting to check, and not tried again."""
    elsewhere = {"Location": f"{bench.server.base_url}/elsewhere"}
    bench.will(error(status, headers=elsewhere), plan(("true", False)))

    with pytest.raises(PlannerError, match=words):
        await bench.planner.plan(request())

    assert [str(status)] == bench.error_types
    assert len(bench.server.requests) == 1


async def test_nothing_listens() -> None:
    """An endpoint that is not there is named as a setting to check."""
    async with openai_server() as server:
        base_url = server.base_url
    async with bench_with(base_url=base_url, attempts=2) as bench:
        with pytest.raises(PlannerError, match=r"ConnectError.*check AOSS_LLM_BASE_URL \(after 2 attempts\)"):
            await bench.planner.plan(request())

        assert bench.error_types == ["connection_error"] * 2


@pytest.mark.parametrize("status", [200, 500])
async def test_endless_body(bench: Bench, status: int) -> None:
    """An endless answer, or an endless error, is cut off at the limit and not asked for again."""
    bench.will(Reply(b"{", status, ending=endless().ending), plan(("true", False)))

    with pytest.raises(PlannerError, match="sent more than 16 MiB"):
        await asyncio.wait_for(bench.planner.plan(request()), 30)

    assert bench.error_types == ["invalid_response"]


async def test_compressed_body(bench: Bench) -> None:
    """A compressed answer, which could unpack to any size, was not asked for and is refused."""
    bench.will(Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))

    with pytest.raises(PlannerError, match="compressed"):
        await bench.planner.plan(request())

    assert bench.server.requests[0].headers["accept-encoding"] == "identity"


async def test_calls_are_reported(bench: Bench) -> None:
    """Each call is reported once, with its duration and the tokens that the endpoint counted."""
    usage = {"prompt_tokens": 120, "completion_tokens": 45}
    bench.will(error(500), completion("nonsense", usage=usage), plan(("true", False)))

    await bench.planner.plan(request())

    assert [
        (call.operation, call.model, call.input_tokens, call.output_tokens, call.error_type)
        for call in bench.calls
    ] == [
        ("chat", "m-default", None, None, "500"),
        ("chat", "m-default", 120, 45, "invalid_response"),
        ("chat", "m-default", 11, 7, None),
    ]
    assert all(0 < call.duration < 60 for call in bench.calls)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": "many", "completion_tokens": -1}])
async def test_uncounted_tokens(bench: Bench, usage: dict[str, Any]) -> None:
    """Where the endpoint counts no tokens, or senselessly, none are reported and the answer is used."""
    bench.will(completion('{"steps": []}', usage=usage))

    await bench.planner.recover(request(), FAILURE, ())

    assert [(call.input_tokens, call.output_tokens) for call in bench.calls] == [(None, None)]


async def test_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the OPENAI_* variables reaches the endpoint, and none of them redirects the calls."""
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"leak-{name}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/leak")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Leak: leak-header\nAuthorization: Bearer leak-token")
    async with bench_with(api_key=None) as bench:
        bench.will(plan(("true", False)))
        await bench.planner.plan(request())

        (sent,) = bench.server.requests
        assert sent.headers["authorization"] == "Bearer none"
        assert "leak" not in f"{sent.headers}{sent.raw_body!r}"
        assert not {"openai-organization", "openai-project", "x-leak"} & set(sent.headers)


async def test_key_stays_secret(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """The key is sent to the endpoint alone: no error, log line, prompt or settings text shows it."""
    echo = f"I got the key {KEY}, and {'long ' * 10_000}"
    messages = []
    for status, attempts in ((401, 1), (404, 1), (500, 3)):
        bench.will(*[error(status, echo)] * attempts)
        with pytest.raises(PlannerError) as raised:
            await bench.planner.plan(request())
        messages.append(str(raised.value))
        assert raised.value.__cause__ is None

    assert all(KEY not in message and len(message) < 600 for message in messages)
    assert "I got the key [key]" in messages[1]
    assert all(KEY not in sent.raw_body.decode() for sent in bench.server.requests)
    captured = capfd.readouterr()
    assert "asking the language model again" in captured.out + captured.err
    assert KEY not in captured.out + captured.err
    assert KEY not in repr(ModelSettings("http://localhost", KEY, ("m",)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"models": ()}, "AOSS_LLM_MODEL"), ({"api_key": "sk-…abc"}, "AOSS_LLM_API_KEY")],
)
def test_settings_that_cannot_work(settings: dict[str, Any], words: str) -> None:
    """Settings that no call could work with are refused when they are made, without the key's value."""
    with pytest.raises(ValueError, match=words) as raised:
        ModelSettings(**{"base_url": "http://localhost/v1", "api_key": None, "models": ("m",), **settings})

    assert "sk-" not in str(raised.value)
