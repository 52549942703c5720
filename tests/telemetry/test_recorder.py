"""The recorder: whatever leaves it, and whenever, the measurements balance."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry import metrics

from app.execution.events import (
    AgentSummary,
    Complete,
    Event,
    ExecutionError,
    HealingPlan,
    HealingResult,
    HealingStart,
    StepResult,
    StepStart,
    Summarizing,
)
from telemetry.instruments import Instruments
from telemetry.labels import Decision, ErrorType, ExecutionStatus, StepStatus
from telemetry.pipeline import Pipeline
from telemetry.recorder import measure_execution
from telemetry.settings import TelemetrySettings
from tests.telemetry.scraping import Series, nonzero, scrape, total, value

WORK: dict[str, Any] = {"agent_type": "database", "server_tag": "db-1"}


def step(status: StepStatus, error: ErrorType | None = None, duration: float = 0.0) -> StepResult:
    return StepResult(1, "true", status, 0, "", "", duration, error)


STORY: tuple[Event, ...] = (
    StepStart(1, "df", Decision.ALLOWED, "none"),
    step(StepStatus.SUCCESS, duration=0.2),
    StepStart(2, "netstat", Decision.ALLOWED, "none"),
    step(StepStatus.FAILED, ErrorType.COMMAND),
    HealingStart("not found"),
    HealingPlan("[]"),
    StepStart(999, "ss", Decision.ALLOWED, "none"),
    step(StepStatus.SUCCESS),
    HealingResult(success=True),
    StepStart(3, "mkfs", Decision.DENIED, "no-mkfs"),
    step(StepStatus.FAILED, ErrorType.COMPLIANCE),
    HealingResult(success=False),
    ExecutionError("lost", ErrorType.CONNECTION),
    Summarizing(),
    AgentSummary("done"),
    Complete("1", ExecutionStatus.FAILED),
)


async def stream(events: tuple[Event, ...] = STORY) -> AsyncIterator[Event]:
    for event in events:
        yield event


def labelled(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return (name, frozenset({"agent_type": "database", **labels}.items()))


async def test_every_event_of_a_story_is_counted(pipeline: Pipeline) -> None:
    """Each event that the contract names adds what the contract says, and nothing else."""
    async with measure_execution(pipeline.instruments, stream(), **WORK) as events:
        assert [event async for event in events] == list(STORY)
    assert nonzero(scrape(pipeline)) == {
        labelled("aoss_executions_total", server_tag="db-1"): 1.0,
        labelled("aoss_executions_completed_total", server_tag="db-1", status="Failed"): 1.0,
        labelled("aoss_execution_duration_seconds_count", status="Failed"): 1.0,
        labelled("aoss_execution_steps_total", status="Success"): 2.0,
        labelled("aoss_execution_steps_total", status="Failed"): 2.0,
        labelled("aoss_execution_step_duration_seconds_count", status="Success"): 2.0,
        labelled("aoss_execution_step_duration_seconds_count", status="Failed"): 2.0,
        labelled("aoss_execution_errors_total", error_type="command_error"): 1.0,
        labelled("aoss_execution_errors_total", error_type="compliance_violation"): 1.0,
        labelled("aoss_execution_errors_total", error_type="connection_error"): 1.0,
        labelled("aoss_self_healing_attempts_total", success="true"): 1.0,
        labelled("aoss_self_healing_attempts_total", success="false"): 1.0,
        labelled("aoss_compliance_checks_total", decision="allowed", rule="none"): 3.0,
        labelled("aoss_compliance_checks_total", decision="denied", rule="no-mkfs"): 1.0,
    }
    sums = total(scrape(pipeline), "aoss_execution_step_duration_seconds_sum", status="Success")
    assert sums == 0.2


async def test_an_event_is_measured_before_it_is_given(pipeline: Pipeline) -> None:
    """Whoever has seen an event finds it in the next scrape; active falls with `complete`, not later."""
    async with measure_execution(pipeline.instruments, stream(), **WORK) as events:
        assert value(scrape(pipeline), "aoss_active_executions", agent_type="database") == 1.0
        seen = 0
        async for event in events:
            seen += isinstance(event, StepResult)
            assert total(scrape(pipeline), "aoss_execution_steps_total") == seen
            active = value(scrape(pipeline), "aoss_active_executions", agent_type="database")
            assert active == (0.0 if isinstance(event, Complete) else 1.0)


def check_balance(series: Series, status: str | None = None, started: float = 1.0) -> None:
    """Assert invariants 1 and 2 for the one persona in use."""
    completed = total(series, "aoss_executions_completed_total", agent_type="database")
    active = value(series, "aoss_active_executions", agent_type="database")
    assert total(series, "aoss_executions_total", agent_type="database") == started
    assert (completed, active) == (started, 0.0)
    assert total(series, "aoss_execution_duration_seconds_count", agent_type="database") == started
    if status:
        completed_so = total(series, "aoss_executions_completed_total", status=status)
        assert completed_so == total(series, "aoss_execution_duration_seconds_count", status=status) == 1.0


def leave_by_break() -> bool:
    return True


def leave_by_exception() -> bool:
    raise ZeroDivisionError("the store is away")


def leave_by_cancellation() -> bool:
    raise asyncio.CancelledError


def leave_by_generator_exit() -> bool:
    raise GeneratorExit


@pytest.mark.parametrize("position", range(len(STORY) + 1))
@pytest.mark.parametrize(
    ("leave", "status", "system_errors"),
    [
        (leave_by_break, "Interrupted", 0),
        (leave_by_cancellation, "Interrupted", 0),
        (leave_by_generator_exit, "Interrupted", 0),
        (leave_by_exception, "Failed", 1),
    ],
)
async def test_leaving_at_any_event_balances(
    pipeline: Pipeline, position: int, leave: Callable[[], bool], status: str, system_errors: int
) -> None:
    """An execution left after any number of events counts one end, whatever it was left by."""
    source = stream()
    with suppress(ZeroDivisionError, asyncio.CancelledError, GeneratorExit):
        async with measure_execution(pipeline.instruments, source, **WORK) as events:
            for _ in range(position):
                await anext(events)
            leave()
    completed = position == len(STORY)
    series = scrape(pipeline)
    check_balance(series, "Failed" if completed else status)
    expected = 0 if completed else system_errors
    assert total(series, "aoss_execution_errors_total", error_type="system_error") == expected
    with pytest.raises(StopAsyncIteration):  # the source was closed
        await anext(source)


@pytest.mark.parametrize("position", range(len(STORY)))
async def test_an_exception_of_the_stream_passes_unchanged(pipeline: Pipeline, position: int) -> None:
    """The engine's own exception reaches the caller as the same object and counts Failed and system_error."""
    failure = RuntimeError("engine")

    async def failing() -> AsyncIterator[Event]:
        for event in STORY[:position]:
            yield event
        raise failure

    async def consume() -> None:
        async with measure_execution(pipeline.instruments, failing(), **WORK) as events:
            async for _ in events:
                pass

    with pytest.raises(RuntimeError) as caught:
        await consume()
    assert caught.value is failure
    check_balance(scrape(pipeline), "Failed")
    assert total(scrape(pipeline), "aoss_execution_errors_total", error_type="system_error") == 1


async def test_a_handled_exception_of_the_stream_still_fails(pipeline: Pipeline) -> None:
    """A caller that catches the stream's exception inside the block does not turn it into Interrupted."""

    async def failing() -> AsyncIterator[Event]:
        yield STORY[0]
        raise RuntimeError

    async with measure_execution(pipeline.instruments, failing(), **WORK) as events:
        with suppress(RuntimeError):
            async for _ in events:
                pass
    check_balance(scrape(pipeline), "Failed")


async def test_a_cancelled_task_balances_while_the_stream_cleans_up(pipeline: Pipeline) -> None:
    """A task cancelled while it waits for an event counts Interrupted, after the stream's own clean-up."""
    waiting, cleaned = asyncio.Event(), False

    async def slow() -> AsyncIterator[Event]:
        nonlocal cleaned
        try:
            waiting.set()
            await asyncio.Event().wait()
            yield STORY[0]
        finally:
            await asyncio.sleep(0)
            cleaned = True

    async def run() -> None:
        async with measure_execution(pipeline.instruments, slow(), **WORK) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(run())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned
    check_balance(scrape(pipeline), "Interrupted")


async def test_a_stream_whose_closing_fails_balances(pipeline: Pipeline) -> None:
    """An exception from the stream's clean-up passes on, and the execution has still ended."""

    async def stubborn() -> AsyncIterator[Event]:
        try:
            yield STORY[0]
        finally:
            raise OSError("clean-up")

    with pytest.raises(OSError, match="clean-up"):
        async with measure_execution(pipeline.instruments, stubborn(), **WORK) as events:
            await anext(events)
    check_balance(scrape(pipeline), "Interrupted")


async def test_a_second_complete_counts_nothing(pipeline: Pipeline) -> None:
    """The end is recorded exactly once, even if a stream announces it twice."""
    twice = (STORY[-1], Complete("1", ExecutionStatus.SUCCESS))
    async with measure_execution(pipeline.instruments, stream(twice), **WORK) as events:
        assert [event async for event in events] == list(twice)
    check_balance(scrape(pipeline), "Failed")


class BrokenInstrument:
    """An instrument of an SDK gone wrong."""

    def add(self, *_: object) -> None:
        raise MemoryError("full")

    record = add


class BrokenMeter(metrics.NoOpMeter):
    """A meter whose every instrument raises."""

    def create_counter(self, *_: Any, **__: Any) -> Any:
        return BrokenInstrument()

    create_up_down_counter = create_counter
    create_histogram = create_counter


async def test_broken_instruments_leave_the_stream_untouched(caplog: pytest.LogCaptureFixture) -> None:
    """With every instrument raising, the caller gets every event, and each instrument is logged once."""
    instruments = Instruments(BrokenMeter("broken"))
    instruments.create_zero_series()
    for _ in range(2):
        async with measure_execution(instruments, stream(), **WORK) as events:
            assert [event async for event in events] == list(STORY)
    failed = [r.args for r in caplog.records if r.levelno == logging.ERROR]
    assert len(failed) == len(set(failed)) == 9
    assert instruments.failures.counts["aoss.executions.completed"] == 18  # 16 zero series and 2 ends


@dataclass
class Malformed:
    """An event of a known type without its fields."""

    type: ClassVar[str] = "step_result"


async def test_events_that_cannot_be_read_pass_untouched(pipeline: Pipeline) -> None:
    """A malformed event, one of an unknown type and one of no type reach the caller and count nothing."""

    @dataclass
    class New:
        type: str = "brand_new"

    odd = [Malformed(), New(), New(type=[]), object()]  # type: ignore[arg-type] # an unhashable type is the point

    async def source() -> AsyncIterator[object]:
        for event in odd:
            yield event

    async with measure_execution(pipeline.instruments, source(), **WORK) as events:
        assert [event async for event in events] == odd
    check_balance(scrape(pipeline), "Interrupted")
    assert total(scrape(pipeline), "aoss_execution_steps_total") == 0.0


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(STORY)), st.sampled_from(["break", "raise", "cancel", "end"])),
        max_size=12,
    )
)
def test_any_mix_of_concurrent_executions_balances(plan: list[tuple[int, str]]) -> None:
    """Executions that run at once and end in any way leave the counters equal and the gauge at zero."""
    pipeline = Pipeline.start(TelemetrySettings())

    async def one(position: int, ending: str) -> None:
        async with measure_execution(pipeline.instruments, stream(), **WORK) as events:
            for _ in range(position):
                await anext(events)
                await asyncio.sleep(0)
            if ending == "raise":
                raise ValueError
            if ending == "cancel":
                raise asyncio.CancelledError
            if ending == "end":
                async for _ in events:
                    await asyncio.sleep(0)

    async def run() -> None:
        await asyncio.gather(*(one(*item) for item in plan), return_exceptions=True)

    asyncio.run(run())
    check_balance(scrape(pipeline), started=float(len(plan)))
    pipeline.shutdown()
