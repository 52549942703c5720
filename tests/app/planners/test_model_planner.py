"""The planner that asks a language model: what it returns, and when it asks again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate

import pytest

from app.errors import PlannerError, UnknownModelError
from app.planners.plan import Step
from tests.app.planners.model_bench import FAILURE, Bench, bench_with, request
from tests.support.openai_server import (
    Reply,
    Request,
    dropped,
    error,
    plan,
    recovery,
    schema_unsupported,
    silence,
)


async def test_plan(bench: Bench) -> None:
    """A plan has the model's steps, in its order, with the changes that it marked."""
    bench.will(plan(("ss -tln", False), ("systemctl restart nginx", True)))

    steps = await bench.planner.plan(request())

    assert [
        Step("ss -tln", "Run ss -tln"),
        Step("systemctl restart nginx", "Run systemctl restart nginx", changes=True),
    ] == steps


async def test_recovery(bench: Bench) -> None:
    """A recovery has the model's steps, and the one that replaces the failed command is marked."""
    bench.will(recovery(("command -v ss", False, False), ("ss -tln", False, True)))

    steps = await bench.planner.recover(request(), FAILURE, ())

    assert [
        Step("command -v ss", "Run command -v ss"),
        Step("ss -tln", "Run ss -tln", replaces=True),
    ] == steps


async def test_no_remedy(bench: Bench) -> None:
    """A model that knows no remedy gives an empty recovery."""
    bench.will(recovery())

    assert await bench.planner.recover(request(), FAILURE, ()) == []


async def test_model_is_chosen(bench: Bench) -> None:
    """A configured model that the request names is the one that is asked and reported."""
    bench.will(plan(("true", False)), recovery())

    await bench.planner.plan(request(model="m-other"))
    await bench.planner.recover(request(model="m-other"), FAILURE, ())

    assert [sent.body["model"] for sent in bench.server.requests] == ["m-other", "m-other"]
    assert [call.model for call in bench.calls] == ["m-other", "m-other"]


async def test_unknown_model(bench: Bench) -> None:
    """A model that is not configured is refused with the names of those that are, and nothing is asked."""
    with pytest.raises(UnknownModelError, match=r"'gpt-99' is not configured; available: m-default, m-other"):
        await bench.planner.plan(request(model="gpt-99"))
    with pytest.raises(UnknownModelError):
        await bench.planner.recover(request(model="gpt-99"), FAILURE, ())

    for model in (None, "m-default", "m-other"):
        bench.planner.check_model(model)
    with pytest.raises(UnknownModelError):
        bench.planner.check_model("")

    assert bench.server.requests == []


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_status_tried_again(bench: Bench, status: int) -> None:
    """A status that may pass is tried again, up to the number of attempts."""
    bench.will(error(status), error(status), plan(("true", False)))
    assert [Step("true", "Run true")] == await bench.planner.plan(request())

    bench.will(error(status), error(status), error(status), plan(("true", False)))
    with pytest.raises(PlannerError, match=rf"HTTP {status}\. It said: scripted \(after 3 attempts\)"):
        await bench.planner.plan(request())

    assert [str(status), str(status), None, *[str(status)] * 3] == bench.error_types


async def test_lost_connection_is_tried_again(bench: Bench) -> None:
    """A connection that drops in the middle of an answer is tried again."""
    bench.will(dropped(), plan(("true", False)))

    assert [Step("true", "Run true")] == await bench.planner.plan(request())
    assert bench.error_types == ["connection_error", None]


async def test_one_attempt() -> None:
    """With one attempt nothing is tried again."""
    async with bench_with(attempts=1) as bench:
        bench.will(error(500), plan(("true", False)))
        with pytest.raises(PlannerError):
            await bench.planner.plan(request())

        assert len(bench.server.requests) == 1


@pytest.mark.parametrize("wait", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)])
async def test_retry_after(bench: Bench, wait: Callable[[], str]) -> None:
    """The wait that Retry-After asks for, as seconds or as a date, is kept."""
    started = time.monotonic()
    bench.will(error(429, headers={"Retry-After": wait()}), plan(("true", False)))

    await bench.planner.plan(request())

    assert time.monotonic() - started > 0.9
    assert bench.error_types == ["429", None]


@pytest.mark.parametrize("wait", ["120", "9" * 400])
async def test_retry_after_beyond_the_limit(bench: Bench, wait: str) -> None:
    """A wait that would outlast the time limit is not begun; the error says how long it would be."""
    bench.will(error(429, headers={"Retry-After": wait}), plan(("true", False)))
    started = time.monotonic()

    with pytest.raises(PlannerError, match=r"HTTP 429.*would have to wait (120|inf) s"):
        await bench.planner.plan(request())

    assert time.monotonic() - started < 30
    assert len(bench.server.requests) == 1


@pytest.mark.parametrize("wait", ["", "soon", "-5", "Mon, 99 Foo 0000 99:99:99 GMT", "0"])
async def test_senseless_retry_after(bench: Bench, wait: str) -> None:
    """A Retry-After that means nothing leaves the usual pause."""
    bench.will(error(503, headers={"Retry-After": wait}), plan(("true", False)))

    assert [Step("true", "Run true")] == await bench.planner.plan(request())


async def test_schema_fallback(bench: Bench) -> None:
    """A server without json_schema is asked for a JSON object instead, from then on at once."""
    bench.will(schema_unsupported(), plan(("true", False)), recovery(), plan(("true", False)))

    await bench.planner.plan(request())
    await bench.planner.recover(request(), FAILURE, ())
    await bench.planner.plan(request(model="m-other"))

    sent = [each.body["response_format"]["type"] for each in bench.server.requests]
    assert sent == ["json_schema", "json_object", "json_object", "json_schema"]
    assert bench.error_types == ["400", None, None, None]
    assert "must fit this JSON schema" in bench.server.requests[1].prompt


async def test_schema_fallback_with_one_attempt() -> None:
    """The change to a JSON object is not an attempt, also where two plans find out at the same time."""
    async with bench_with(attempts=1) as bench:

        async def without_schemas(asked: Request) -> Reply:
            await bench.server.received(2)
            return (
                schema_unsupported()
                if "json_schema" in asked.body["response_format"]
                else plan(("true", False))
            )

        bench.server.otherwise = without_schemas

        plans = await asyncio.gather(bench.planner.plan(request()), bench.planner.plan(request()))

        assert list(plans) == [[Step("true", "Run true")]] * 2
        assert sorted(map(str, bench.error_types)) == ["400", "400", "None", "None"]


async def test_no_format_suits(bench: Bench) -> None:
    """A server that refuses both formats is told of, once."""
    bench.will(schema_unsupported(), schema_unsupported(), plan(("true", False)))

    with pytest.raises(PlannerError, match=r"HTTP 400.*response_format"):
        await bench.planner.plan(request())

    assert len(bench.server.requests) == 2


async def test_total_time() -> None:
    """However many attempts there are, the time limit holds for all of them together."""
    async with bench_with(timeout_seconds=3, attempts=10) as bench:
        bench.will(error(429, headers={"Retry-After": "1"}), silence(), plan(("true", False)))
        started = time.monotonic()

        with pytest.raises(PlannerError, match="did not answer within 3 s"):
            await bench.planner.plan(request())

        assert time.monotonic() - started < 30
        assert bench.error_types == ["429", "timeout"]


async def test_cancellation(bench: Bench) -> None:
    """A cancelled plan ends at once, hangs up and is reported as cancelled."""
    bench.will(silence())
    task = asyncio.create_task(bench.planner.plan(request()))
    await asyncio.wait_for(bench.server.received(1), 10)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert bench.error_types == ["cancelled"]
    async with asyncio.timeout(10):
        while not bench.server.hung_up:  # noqa: ASYNC110 # the server notices in its own time
            await asyncio.sleep(0.01)


async def test_cancellation_while_waiting(bench: Bench) -> None:
    """A plan that is cancelled between two attempts makes no further call."""
    bench.will(error(429, headers={"Retry-After": "30"}), plan(("true", False)))
    task = asyncio.create_task(bench.planner.plan(request()))
    async with asyncio.timeout(10):
        while not bench.calls:  # noqa: ASYNC110 # the call is reported in its own time
            await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert len(bench.server.requests) == 1


async def test_close(bench: Bench) -> None:
    """A closed planner makes no more calls."""
    await bench.planner.aclose()

    with suppress(PlannerError, RuntimeError):
        await bench.planner.plan(request())

    assert bench.server.requests == []
