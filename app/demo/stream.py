"""The stream of executions: some at a time, each followed to its end; stopped, it cancels what it started."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from app.commands.errors import CommandError
from app.demo.client import BackendClient, BusyError
from app.demo.scenarios import Scenario, refused_request
from app.demo.tally import Counts, count
from telemetry.labels import AgentType

AT_A_TIME = 4
# Long enough to be seen running.
CANCEL_AFTER_SECONDS = 0.7
# For the executions that were cancelled to tell their end.
STOP_SECONDS = 10.0
MOST_RETRIES = 30


class Demo:
    """Run scenarios on one server. `on_end` is told the status of each execution that ended."""

    def __init__(self, backend: BackendClient, server: int, on_end: Callable[[str], None]) -> None:
        self._backend = backend
        self._server = server
        self._on_end = on_end
        self._stopping = asyncio.Event()
        self._running: set[str] = set()
        self.told: Counts = Counter()

    @property
    def stopped(self) -> bool:
        """Return whether someone stopped it."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Start nothing more and cancel what runs; `run` returns when that has ended."""
        self._stopping.set()

    async def run(self, scenarios: Iterator[Scenario]) -> None:
        """Run them all; raises CommandError where the backend fails, after cancelling what it started."""
        try:
            async with asyncio.TaskGroup() as group:
                stopper = group.create_task(self._cancel_when_stopped())
                workers = [group.create_task(self._work(scenarios)) for _ in range(AT_A_TIME)]
                group.create_task(self._plan_in_vain())
                await asyncio.wait(workers)
                stopper.cancel()
        except* CommandError as failures:
            await self._cancel_running()
            raise failures.exceptions[0] from None

    async def _work(self, scenarios: Iterator[Scenario]) -> None:
        for scenario in scenarios:
            if self.stopped:
                return
            await self._execute(scenario)

    async def _plan_in_vain(self) -> None:
        for agent_type in AgentType:
            await self._backend.plan(self._server, agent_type, refused_request())

    async def _execute(self, scenario: Scenario) -> None:
        plan: list[dict[str, Any]] | None = [{"command": command} for command in scenario.commands]
        if not plan:
            plan = await self._backend.plan(self._server, scenario.agent_type, scenario.request)
        if not plan:
            raise CommandError(f"the backend knows no plan for {scenario.request!r}")
        for _ in range(MOST_RETRIES):
            try:
                await self._follow(scenario, plan)
                return
            except BusyError as busy:
                # Others use the backend too.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), busy.seconds)
                if self.stopped:
                    return
        raise CommandError("the backend stays at its limit of executions: see AOSS_MAX_ACTIVE_EXECUTIONS")

    async def _follow(self, scenario: Scenario, plan: list[dict[str, Any]]) -> None:
        async with self._backend.execute(self._server, scenario, plan) as (execution, stream):
            self._running.add(execution)
            if self.stopped:
                # It was asked for before, and began after, everything was cancelled.
                await self._cancel(execution)
            events = []
            async for event in stream:
                events.append(event)
                if scenario.cancelled and event["type"] == "step_start":
                    await asyncio.sleep(CANCEL_AFTER_SECONDS)
                    await self._backend.cancel(execution)
        if not events or events[-1]["type"] != "complete":
            raise CommandError(f"the stream of execution {execution} broke off")
        self._running.discard(execution)
        self.told += count(scenario.agent_type, events)
        self._on_end(events[-1]["final_status"])

    async def _cancel_when_stopped(self) -> None:
        await self._stopping.wait()
        await self._cancel_running()
        await asyncio.sleep(STOP_SECONDS)
        left = ", ".join(sorted(self._running))
        raise CommandError(f"these executions were cancelled and have not ended yet: {left}")

    async def _cancel_running(self) -> None:
        await asyncio.gather(*(self._cancel(execution) for execution in tuple(self._running)))

    async def _cancel(self, execution: str) -> None:
        with suppress(CommandError):
            await self._backend.cancel(execution)
