"""The parts of one worker, put together; `open` and `close` bring them up and down in order."""

import socket
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.compliance.compliance import Compliance
from app.console.ring import OwnRing, SharedRing
from app.console.sampling import FAMILIES, Sampling
from app.execution.engine import Engine
from app.execution.follow import Follower
from app.execution.housekeeping import Housekeeping
from app.execution.supervisor import Supervisor
from app.execution.workers import WorkerLock
from app.execution.writer import EventWriter
from app.planners.plan import Planner
from app.runners.base import Runner
from app.settings import Settings
from app.store.database import Database
from app.store.executions import Executions
from app.store.servers import NewServer, Servers, insert_server
from telemetry.pipeline import Pipeline

LOCAL_SERVER = NewServer(tag="localhost", runner="local", ip_address="127.0.0.1", hostname="localhost")
FLUSH_SECONDS = 5.0


class Backend:
    """One worker: its planner, runners, store and executions."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        planner: Planner,
        runners: Mapping[str, Runner],
        compliance: Compliance,
        pipeline: Pipeline,
    ) -> None:
        self.settings = settings
        self.host = socket.gethostname()
        self.pipeline = pipeline
        self.database = database
        self.planner = planner
        self.runners = runners
        self.servers = Servers(database)
        self.executions = Executions(database)
        engine = Engine(
            planner,
            runners,
            compliance,
            command_timeout_seconds=settings.command_timeout_seconds,
        )
        self._writer = EventWriter(self.executions)
        self.supervisor = Supervisor(
            engine, self._writer, pipeline.measure_execution, max_active=settings.max_active_executions
        )
        self.follower = Follower(self.supervisor, self.executions)
        directory = pipeline.shared_directory
        self.sampling = Sampling(OwnRing() if directory is None else SharedRing(directory), self._scrape)
        self._lock: WorkerLock | None = None
        self._housekeeping: Housekeeping | None = None

    @property
    def worker(self) -> str:
        """Return the id under which this worker's executions are stored."""
        if self._lock is None:
            raise RuntimeError("the backend is not open")
        return self._lock.worker

    async def open(self) -> None:
        """Migrate the store, take the worker's lock and start the duties."""
        await open_store(self.database, self.settings)
        workers_directory = self.settings.data_dir / "workers"
        self._lock = WorkerLock(workers_directory)
        for tag in await self.servers.tags():
            self.pipeline.instruments.announce_server(tag)
        self._writer.start()
        self._housekeeping = Housekeeping(
            self.executions,
            self.supervisor,
            worker=self._lock.worker,
            workers_directory=workers_directory,
            retention=timedelta(days=self.settings.retention_days),
        )
        self._housekeeping.start()
        self.sampling.start()

    async def close(self) -> None:
        """Drain, write what is left, and give everything back."""
        settled = False
        try:
            await self.supervisor.drain(self.settings.drain_seconds)
            settled = await self._writer.close(FLUSH_SECONDS) and not self.supervisor.active
        finally:
            await self.sampling.stop()
            if self._housekeeping:
                await self._housekeeping.stop()
            if self._lock:
                self._lock.release(settled=settled)
            await self.database.close()
            await self.planner.aclose()

    def _scrape(self) -> str:
        text, _ = self.pipeline.exposition(names=frozenset(FAMILIES))
        return text.decode()


async def open_store(database: Database, settings: Settings) -> None:
    """Migrate the store; at its first start also register this machine. Of several callers one does it."""

    async def first_start(session: AsyncSession) -> None:
        if settings.local_runner:
            await insert_server(session, LOCAL_SERVER)

    await database.open(first_start)
