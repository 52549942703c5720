"""What measuring one execution of 20 steps costs, in milliseconds of CPU."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine

from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, select, update

from app.execution.events import Complete, Event, StepResult, StepStart
from benchmarks.results import PROMISED, Row, row
from telemetry.database import count_statements
from telemetry.labels import Decision, ExecutionStatus, StepStatus
from telemetry.pipeline import Pipeline
from telemetry.recorder import measure_execution
from telemetry.settings import TelemetrySettings

STEPS = 20
STATEMENTS = 45
EXECUTIONS = 200
ROUNDS = 7
MOST_MILLISECONDS = 1.0

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


def rows() -> list[Row]:
    """Measure with and without telemetry by turns, and take the differences."""
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
    pipeline.shutdown()
    executions = sum(
        float(line.rpartition(" ")[2])
        for line in body.splitlines()
        if line.startswith("aoss_executions_completed_total{")
    )
    assert executions == EXECUTIONS * ROUNDS
    both = [one + other for one, other in zip(recorder, database, strict=True)]
    return [
        row(f"CPU of the recorder for an execution of {STEPS} steps", "ms", {"ours": recorder}, {}),
        row(f"CPU of counting {STATEMENTS} statements", "ms", {"ours": database}, {}),
        row(
            "both together",
            "ms",
            {"ours": both, PROMISED: [MOST_MILLISECONDS] * ROUNDS},
            {PROMISED: 1},
        ),
    ]
