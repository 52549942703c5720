"""CPU of measuring one execution of 20 steps, promised under 1 ms: `python -m benchmarks.recorder`."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine

from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, select, update

from app.execution.events import Complete, Event, StepResult, StepStart
from telemetry.database import count_statements
from telemetry.labels import Decision, ExecutionStatus, StepStatus
from telemetry.pipeline import Pipeline
from telemetry.recorder import measure_execution
from telemetry.settings import TelemetrySettings

STEPS = 20
STATEMENTS = 45
EXECUTIONS = 200
ROUNDS = 7

EVENTS: tuple[Event, ...] = (
    *(
        event
        for n in range(STEPS)
        for event in (
            StepStart(n, "true", Decision.ALLOWED, "none"),
            StepResult(n, "true", StepStatus.SUCCESS, 0, "", "", 0.1),
        )
    ),
    Complete("1", ExecutionStatus.SUCCESS),
)


async def stream() -> AsyncIterator[Event]:
    """Yield the events of one execution."""
    for event in EVENTS:
        yield event


def cpu_ms(work: Callable[[], Coroutine[None, None, None]]) -> float:
    """Return the CPU of one execution in milliseconds."""

    async def repeat() -> float:
        started = time.process_time()
        for _ in range(EXECUTIONS):
            await work()
        return (time.process_time() - started) / EXECUTIONS * 1000

    return asyncio.run(repeat())


def main() -> None:
    """Measure with and without telemetry by turns, and print the medians of the differences."""
    pipeline = Pipeline.start(TelemetrySettings())
    table = Table("jobs", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer))
    plain, counted = create_engine("sqlite://"), create_engine("sqlite://")
    for engine in (plain, counted):
        table.create(engine)
    count_statements(counted, pipeline.instruments)
    statements = [
        (insert(table).values(n=1), select(table), update(table).values(n=2))[n % 3]
        for n in range(STATEMENTS)
    ]

    async def bare() -> None:
        async for _ in stream():
            pass

    async def recorded() -> None:
        async with measure_execution(
            pipeline.instruments, stream(), agent_type="general", server_tag="web"
        ) as events:
            async for _ in events:
                pass

    def with_database(engine: Engine) -> Callable[[], Coroutine[None, None, None]]:
        async def work() -> None:
            with engine.begin() as connection:
                for statement in statements:
                    connection.execute(statement)
                connection.rollback()

        return work

    recorder, database = [], []
    for _ in range(ROUNDS):
        recorder.append(cpu_ms(recorded) - cpu_ms(bare))
        database.append(cpu_ms(with_database(counted)) - cpu_ms(with_database(plain)))
    body = pipeline.exposition()[0].decode()
    done = float(EXECUTIONS * ROUNDS)
    assert (
        f'aoss_executions_completed_total{{agent_type="general",server_tag="web",status="Success"}} {done}'
        in body
    )
    first, second = statistics.median(recorder), statistics.median(database)
    print(f"CPU per execution of {STEPS} steps, median of {ROUNDS} rounds of {EXECUTIONS}")
    print(f"{'recorder':<40}{first:8.3f} ms")
    print(f"{f'{STATEMENTS} counted statements':<40}{second:8.3f} ms")
    print(f"{'both (promised: under 1 ms)':<40}{first + second:8.3f} ms")
    pipeline.shutdown()


if __name__ == "__main__":
    main()
