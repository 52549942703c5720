"""The step loop, with the real local runner and a planner that answers what a test scripts."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.compliance.compliance import Compliance
from app.errors import PlannerError, SessionAuthenticationError, SessionError
from app.execution.engine import Engine, Job
from app.execution.events import Complete, Event, StepResult, StepStart
from app.execution.stop import Stop
from app.planners.plan import Attempt, Failure, PlanRequest, Step
from app.runners.base import CommandResult, Outcome, Runner, Session, Target
from app.runners.local import LocalRunner
from telemetry.labels import AgentType, ExecutionStatus


class ScriptedPlanner:
    """Answer each request for a recovery with the next scripted one."""

    def __init__(self, *recoveries: Sequence[Step] | Exception) -> None:
        self.recoveries = list(recoveries)
        self.asked: list[tuple[Failure, list[Attempt]]] = []

    def check_model(self, model: str | None) -> None:
        """Take any model."""

    async def aclose(self) -> None:
        """Hold nothing."""

    async def plan(self, request: PlanRequest) -> Sequence[Step]:
        """Plan nothing; the tests bring their plans."""
        return []

    async def recover(
        self, request: PlanRequest, failure: Failure, earlier: Sequence[Attempt]
    ) -> Sequence[Step]:
        """Return the next scripted recovery, none when there are no more."""
        self.asked.append((failure, list(earlier)))
        answer = self.recoveries.pop(0) if self.recoveries else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class FailingRunner:
    """Refuse every session."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def connect(self, target: Target) -> Session:
        """Refuse."""
        raise self.error


class LosingRunner:
    """Open a session that is lost at its first command, as a server that vanishes does."""

    async def connect(self, target: Target) -> "LosingRunner":
        """Return the session."""
        return self

    async def run(self, command: str, *, time_limit: float, stop: asyncio.Event) -> CommandResult:
        """Lose it."""
        return CommandResult(Outcome.LOST, 255, "partial", "the connection was lost", 0.1)

    async def close(self) -> None:
        """Close nothing."""


async def run(
    *commands: str,
    planner: ScriptedPlanner | None = None,
    runner: Runner | None = None,
    stop: Stop | None = None,
    stop_at: int | None = None,
) -> list[Event]:
    """Run a plan to its end; `stop_at` cancels it when so many events have come."""
    stop = stop or Stop()
    engine = Engine(
        planner or ScriptedPlanner(),
        {"local": runner or LocalRunner()},
        Compliance.load(),
        command_timeout_seconds=10,
    )
    request = PlanRequest("a test", AgentType.GENERAL, "localhost")
    job = Job("e" * 32, request, [Step(command) for command in commands], Target(1, "localhost", "local"))
    events: list[Event] = []
    async for event in engine.run(job, stop):
        events.append(event)
        if len(events) == stop_at:
            stop.request(ExecutionStatus.CANCELLED)
    return events


def shapes(events: list[Event]) -> list[Any]:
    """Return the events in short: starts by step, results by exit code, healings by success."""
    short: list[Any] = []
    for event in events:
        match event:
            case StepStart():
                short.append(("start", event.step))
            case StepResult():
                short.append(("result", event.exit_code))
            case _ if event.type == "healing_result":
                short.append(("healed", event.fields()["success"]))
            case _:
                short.append(event.type)
    return short


def status(events: list[Event]) -> ExecutionStatus:
    """Return the final status; the last event carries it."""
    assert isinstance(events[-1], Complete)
    return events[-1].final_status


END = ["summarizing", "agent_summary", "complete"]


async def test_recovery_and_the_failed_command_again() -> None:
    """A recovery runs as step 999, then the failed command again; the rest of the plan goes on."""
    planner = ScriptedPlanner([Step("touch $HOME/.aoss-test-made")])
    command = "test -e $HOME/.aoss-test-made && rm $HOME/.aoss-test-made"
    events = await run(command, "echo rest", planner=planner)
    assert shapes(events) == [
        ("start", 1),
        ("result", 1),
        "healing_start",
        "healing_plan",
        ("start", 999),
        ("result", 0),
        ("start", 999),
        ("result", 0),
        ("healed", True),
        ("start", 2),
        ("result", 0),
        *END,
    ]
    assert status(events) is ExecutionStatus.SUCCESS


async def test_replacement_stands_for_the_failed_command() -> None:
    """A recovery step marked as a replacement is not followed by the failed command."""
    events = await run("false", planner=ScriptedPlanner([Step("true", replaces=True)]))
    assert shapes(events)[2:] == [
        "healing_start",
        "healing_plan",
        ("start", 999),
        ("result", 0),
        ("healed", True),
        *END,
    ]
    assert status(events) is ExecutionStatus.SUCCESS


async def test_healing_that_does_not_help_is_tried_again_up_to_three_times() -> None:
    """At most three attempts are made; the planner sees the earlier ones; then the plan has failed."""
    planner = ScriptedPlanner(*[[Step(f"true {number}")] for number in range(5)])
    events = await run("false", "echo never", planner=planner)
    attempt = [
        "healing_start",
        "healing_plan",
        ("start", 999),
        ("result", 0),
        ("start", 999),
        ("result", 1),
        ("healed", False),
    ]
    assert shapes(events) == [("start", 1), ("result", 1), *attempt * 3, *END]
    assert status(events) is ExecutionStatus.FAILED
    assert [len(earlier) for _, earlier in planner.asked] == [0, 1, 2]


async def test_three_healings_are_for_the_whole_execution() -> None:
    """Healings of earlier steps count towards the three; a fourth failure is not healed."""
    planner = ScriptedPlanner(*[[Step("true", replaces=True)]] * 4)
    events = await run("false", "false", "false", "false", "echo never", planner=planner)
    assert shapes(events).count(("healed", True)) == 3
    assert shapes(events)[-5:] == [("start", 4), ("result", 1), *END]
    assert status(events) is ExecutionStatus.FAILED


async def test_failing_recovery_step_uses_up_an_attempt() -> None:
    """A recovery step that fails ends its attempt; the planner is asked anew about the failed command."""
    planner = ScriptedPlanner([Step("exit 7"), Step("echo skipped")], [Step("true", replaces=True)])
    events = await run("exit 3", planner=planner)
    assert shapes(events) == [
        ("start", 1),
        ("result", 3),
        "healing_start",
        "healing_plan",
        ("start", 999),
        ("result", 7),
        ("healed", False),
        "healing_start",
        "healing_plan",
        ("start", 999),
        ("result", 0),
        ("healed", True),
        *END,
    ]
    assert [failure.exit_code for failure, _ in planner.asked] == [3, 3]
    assert planner.asked[1][1][0].failure.exit_code == 7


async def test_no_known_remedy_is_one_unsuccessful_attempt() -> None:
    """Without a remedy there is one attempt with an empty plan, and the plan has failed."""
    events = await run("false", "echo never")
    assert shapes(events)[2:] == ["healing_start", "healing_plan", ("healed", False), *END]
    assert json.loads(events[3].fields()["stdout"]) == []
    assert status(events) is ExecutionStatus.FAILED


async def test_recovery_steps_are_checked() -> None:
    """A destructive recovery step is denied like any other command."""
    events = await run("false", planner=ScriptedPlanner([Step("rm -rf /")]))
    assert ("result", 126) in shapes(events)
    assert status(events) is ExecutionStatus.FAILED


async def test_planner_that_fails_during_healing() -> None:
    """A planner's failure is told as an error and leaves the step unhealed."""
    events = await run("false", planner=ScriptedPlanner(PlannerError("the model is away")))
    assert shapes(events)[2:] == ["healing_start", "error", ("healed", False), *END]
    error = events[3].fields()["result"]
    assert (error["command"], error["exit_code"]) == ("System Execution Error", 999)
    assert (error["stderr"], error["error_type"]) == ("the model is away", "planner_error")


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (SessionError("web-01: refused"), "connection_error"),
        (SessionAuthenticationError("web-01: key refused"), "authentication_error"),
    ],
)
async def test_no_session(error: SessionError, error_type: str) -> None:
    """Where no session can be had, the first step fails with the reason, and nothing is healed."""
    events = await run("echo never", "echo never", runner=FailingRunner(error))
    assert shapes(events) == [("start", 1), ("result", 255), *END]
    assert isinstance(events[1], StepResult)
    assert (events[1].stderr, events[1].error_type) == (str(error), error_type)
    assert status(events) is ExecutionStatus.FAILED


async def test_lost_session() -> None:
    """A session that is lost fails the step as a connection error, and nothing is healed over it."""
    events = await run("sleep 1", "echo never", runner=LosingRunner())
    assert shapes(events) == [("start", 1), ("result", 255), *END]
    assert isinstance(events[1], StepResult)
    assert events[1].error_type == "connection_error"


async def test_unexpected_failure_is_told_and_ends_the_execution() -> None:
    """A defect in a runner becomes an error event and a failed execution, never a broken stream."""
    events = await run("true", runner=FailingRunner(ZeroDivisionError("a defect")))
    assert shapes(events) == [("start", 1), "error", *END]
    assert events[1].fields()["result"]["error_type"] == "system_error"
    assert status(events) is ExecutionStatus.FAILED


@pytest.mark.parametrize("stop_at", range(1, 12))
async def test_stop_at_every_event(stop_at: int) -> None:
    """Stopped at any event, an execution ends as Cancelled, or as it would have if it was over by then."""
    planner = ScriptedPlanner([Step("true")], [Step("true", replaces=True)])
    whole = await run("false", "sleep 0.01", planner=planner)
    planner = ScriptedPlanner([Step("true")], [Step("true", replaces=True)])
    events = await run("false", "sleep 0.01", planner=planner, stop_at=stop_at)
    assert shapes(events)[:stop_at] == shapes(whole)[:stop_at]
    assert shapes(events)[-3:] == END
    assert shapes(events).count("complete") == 1
    starts = [shape for shape in shapes(events) if shape == "healing_start"]
    healed = [shape for shape in shapes(events) if shape[0] == "healed"]
    assert len(starts) == len(healed)
    assert status(events) is ExecutionStatus.CANCELLED


async def test_stop_while_the_planner_thinks() -> None:
    """A stop does not wait for a planner that takes its time."""

    class Thinking(ScriptedPlanner):
        async def recover(self, *_: Any) -> Sequence[Step]:
            await asyncio.sleep(60)
            return []

    stop = Stop()
    asyncio.get_running_loop().call_later(0.3, stop.request, ExecutionStatus.INTERRUPTED)
    async with asyncio.timeout(5):
        events = await run("false", planner=Thinking(), stop=stop)
    assert shapes(events)[2:] == ["healing_start", ("healed", False), *END]
    assert status(events) is ExecutionStatus.INTERRUPTED


async def test_first_stop_wins() -> None:
    """An execution that was cancelled is not turned into an interrupted one."""
    stop = Stop()
    stop.request(ExecutionStatus.CANCELLED)
    stop.request(ExecutionStatus.INTERRUPTED)
    events = await run("echo never", stop=stop)
    assert shapes(events) == END
    assert status(events) is ExecutionStatus.CANCELLED


async def test_report_says_what_happened() -> None:
    """The report names the outcome, each command, what was not run, and the last words of the failure."""
    events = await run("echo fine", "echo broken pipes >&2; exit 4", "echo never")
    content = events[-2].fields()["content"]
    assert "failed" in content
    assert "not run: 1 step of 3" in content
    assert "exit code 4" in content
    assert "broken pipes" in content
