"""What a language model may answer, and what is refused."""

import json
from typing import Any

import pytest

from app.errors import PlannerError
from app.planners.plan import Step
from tests.app.planners.model_bench import FAILURE, Bench, request
from tests.support.openai_server import Reply, completion, no_choices, plan, recovery, refusal


def answer(*steps: dict[str, Any]) -> Reply:
    """Return a completion whose content is a JSON object with these steps."""
    return completion(json.dumps({"steps": steps}))


GOOD: dict[str, Any] = {"command": "true", "description": "", "changes": False}
UNUSABLE_ANSWERS = {
    "not JSON": (completion("Sure! Here is the plan:"), "answer is not JSON"),
    "cut JSON": (completion('{"steps": ['), "answer is not JSON"),
    "deep JSON": (completion("[" * 100_000), "answer is not JSON"),
    "a list": (completion("[]"), "does not fit: the whole: Input should be an object"),
    "no steps field": (completion("{}"), r"does not fit: steps: Field required"),
    "0 steps": (answer(), "it has 0 steps, not 1 to 100"),
    "101 steps": (answer(*[GOOD] * 101), "it has 101 steps, not 1 to 100"),
    "no command": (
        answer(GOOD, {"description": "", "changes": False}),
        r"does not fit: steps\.1\.command: Field required",
    ),
    "no changes": (answer({"command": "true", "description": ""}), r"steps\.0\.changes: Field required"),
    "changes as text": (
        answer({**GOOD, "changes": "no"}),
        r"steps\.0\.changes: Input should be a valid bool",
    ),
    "command as a number": (
        answer({**GOOD, "command": 7}),
        r"steps\.0\.command: Input should be a valid str",
    ),
    "an empty command": (answer({**GOOD, "command": " \n"}), r"steps\.0\.command: is empty"),
    "a huge command": (answer({**GOOD, "command": "x" * 65537}), r"steps\.0\.command: is longer than 64 KiB"),
    "NUL in a command": (answer({**GOOD, "command": "a\0b"}), r"steps\.0\.command: holds a NUL"),
    "a huge description": (
        answer({**GOOD, "description": "x" * 2001}),
        r"steps\.0\.description: is longer than 2000 characters",
    ),
    "NUL in a description": (answer({**GOOD, "description": "\0"}), r"steps\.0\.description: holds a NUL"),
    "a lone surrogate": (answer({**GOOD, "command": "\ud800"}), "answer is not JSON: .*hex escape"),
    "an unknown field": (answer({**GOOD, "sudo": True}), r"steps\.0\.sudo: Extra inputs are not permitted"),
    "a huge unknown field": (answer({**GOOD, "x" * 100_000: True}), r"steps\.0\.xxx"),
    "empty content": (completion(""), "gave an empty answer"),
    "no content": (completion(None), "gave an empty answer"),
    "no choices": (no_choices(), "gave no answer"),
    "garbage": (Reply(b"\xff\xfe<html>\x00"), "is not a chat completion: check AOSS_LLM_BASE_URL"),
    "an error as 200": (Reply(b'{"error": {"message": "no"}}'), "is not a chat completion"),
    "an empty body": (Reply(b""), "is not a chat completion"),
}


@pytest.mark.parametrize(("reply", "words"), UNUSABLE_ANSWERS.values(), ids=UNUSABLE_ANSWERS.keys())
async def test_unusable_answer(bench: Bench, reply: Reply, words: str) -> None:
    """An answer that cannot be used is asked for again; after the last attempt the error says why."""
    bench.will(reply, reply, reply)

    with pytest.raises(PlannerError, match=f"{words}.*after 3 attempts") as raised:
        await bench.planner.plan(request())

    assert bench.error_types == ["invalid_response"] * 3
    assert len(bench.server.requests) == 3
    assert len(str(raised.value)) < 600


async def test_largest_plan(bench: Bench) -> None:
    """A plan of 100 steps is used, a command of 64 KiB among them."""
    bench.will(answer({**GOOD, "command": "é" * 32768}, *[GOOD] * 99))

    assert len(await bench.planner.plan(request())) == 100


async def test_second_answer_is_used(bench: Bench) -> None:
    """One malformed answer does not fail the plan."""
    bench.will(completion("nonsense"), plan(("true", False)))

    assert [Step("true", "Run true")] == await bench.planner.plan(request())
    assert bench.error_types == ["invalid_response", None]


@pytest.mark.parametrize(
    ("reply", "words", "error_type"),
    [
        (refusal("I cannot\nhelp with that."), "model refused: I cannot help with that", "refusal"),
        (completion('{"steps": [', finish_reason="length"), "cut off at its length limit", "length"),
        (completion("", finish_reason="content_filter"), "content filter", "content_filter"),
    ],
)
async def test_final_answer(bench: Bench, reply: Reply, words: str, error_type: str) -> None:
    """A refusal, a truncation and a filtered answer are told as such and not asked for again."""
    bench.will(reply, plan(("true", False)))

    with pytest.raises(PlannerError, match=words):
        await bench.planner.plan(request())

    assert [error_type] == bench.error_types


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("netstat -tln", False, False)], id="first"),
        pytest.param([("  netstat   -tln\n", False, True)], id="as its own replacement"),
        pytest.param([("ls", False, False), ("netstat -tln", False, True)], id="after a look"),
        pytest.param([("netstat -tln", True, False), ("ls", False, False)], id="called a change"),
        pytest.param([("ls", False, False)], id="by the engine, after a look"),
    ],
)
async def test_bare_repetition(bench: Bench, steps: list[tuple[str, bool, bool]]) -> None:
    """A recovery that repeats the failed command with nothing changed before it is never returned."""
    bench.will(*[recovery(*steps)] * 3)

    with pytest.raises(PlannerError, match="repeats the failed command with nothing changed before it"):
        await bench.planner.recover(request(allow_changes=True), FAILURE, ())

    assert bench.error_types == ["invalid_response"] * 3


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("apt-get install -y net-tools", True, False)], id="changed, repeated by the engine"),
        pytest.param([("touch x", True, False), ("netstat -tln", False, True)], id="changed, then repeated"),
        pytest.param([("sleep 5", False, False)], id="waited"),
        pytest.param([("ls", False, False), ("ss -tln", False, True)], id="replaced"),
    ],
)
async def test_allowed_recovery(bench: Bench, steps: list[tuple[str, bool, bool]]) -> None:
    """A recovery that changes, replaces or waits before the failed command runs again is used."""
    bench.will(recovery(*steps))

    recovered = await bench.planner.recover(request(allow_changes=True), FAILURE, ())

    assert steps == [(step.command, step.changes, step.replaces) for step in recovered]


async def test_change_without_permission(bench: Bench) -> None:
    """On a server registered without allowChanges a recovery that changes something is never returned."""
    change = recovery(("ls", False, False), ("apt-get install -y net-tools", True, False))
    bench.will(change, recovery(("ss -tln", False, True)))
    assert [Step("ss -tln", "Run ss -tln", replaces=True)] == await bench.planner.recover(
        request(), FAILURE, ()
    )

    bench.will(change, change, change)
    with pytest.raises(PlannerError, match="step 2 would change a server registered without allowChanges"):
        await bench.planner.recover(request(), FAILURE, ())


async def test_changes_in_a_plan(bench: Bench) -> None:
    """A plan may change the server whatever its registration: a person sees the mark before it runs."""
    bench.will(plan(("apt-get install -y ufw", True)))

    (step,) = await bench.planner.plan(request(allow_changes=False))

    assert step.changes is True


async def test_too_long_recovery(bench: Bench) -> None:
    """A recovery of more than 20 steps is refused."""
    bench.will(*[recovery(*[("sleep 1", False, False)] * 21)] * 3)

    with pytest.raises(PlannerError, match="it has 21 steps, not at most 20"):
        await bench.planner.recover(request(), FAILURE, ())
