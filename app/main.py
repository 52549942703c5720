"""The ASGI application: `uvicorn app.main:app`, or `create_app` with parts of your own."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from app import logs
from app.api import chat, console, errors, executions, health, servers
from app.backend import Backend
from app.body_limit import BodyLimit
from app.compliance.compliance import Compliance
from app.console import page
from app.planners.model_planner import ModelPlanner
from app.planners.plan import Planner
from app.planners.runbook_planner import RunbookPlanner
from app.runners.base import Runner
from app.runners.local import LocalRunner
from app.runners.ssh import SshRunner
from app.security import METRICS_PATH, Guard
from app.settings import Settings
from app.store.database import Database
from telemetry.pipeline import Pipeline
from telemetry.settings import TelemetrySettings

# For the last export at shutdown, which a collector that is away must not hold up.
EXPORT_SECONDS = 2.0


def create_app(
    settings: Settings | None = None,
    telemetry_settings: TelemetrySettings | None = None,
    *,
    planner: Planner | None = None,
    runners: Mapping[str, Runner] | None = None,
) -> FastAPI:
    """Return the backend as an ASGI application; what is not given comes from the environment."""
    settings = settings or Settings.from_environment(os.environ)
    compliance = Compliance.load()
    pipeline = Pipeline.start(
        telemetry_settings or TelemetrySettings.from_environment(os.environ), rules=compliance.rules
    )
    database = Database(settings.database_url, settings.data_dir)
    pipeline.count_statements(database.engine.sync_engine)
    backend = Backend(
        settings,
        database=database,
        planner=planner or _planner(settings, pipeline),
        runners=_runners(settings) if runners is None else runners,
        compliance=compliance,
        pipeline=pipeline,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await backend.open()
            pipeline.serve_scrapes(settings.metrics_token or settings.api_key)
            try:
                with _draining_at_sigterm(backend):
                    yield
            finally:
                await backend.close()
        finally:
            await asyncio.to_thread(pipeline.shutdown, EXPORT_SECONDS)

    app = FastAPI(title="AOSS", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.backend = backend
    for module in (chat, executions, servers, console, health):
        app.include_router(module.router)
    errors.install(app)

    app.router.routes += page.ROUTES
    app.router.routes += [Route(path, pipeline.endpoint) for path in (METRICS_PATH, f"{METRICS_PATH}/")]
    app.add_middleware(BodyLimit)
    app.add_middleware(
        Guard,
        api_key=settings.api_key,
        metrics_token=settings.metrics_token,
        allowed_hosts=settings.allowed_hosts,
    )
    # Added last, so that it stands outermost and counts what the guard refuses, too.
    pipeline.instrument_app(app)
    return app


def _planner(settings: Settings, pipeline: Pipeline) -> Planner:
    if settings.models is None:
        return RunbookPlanner()
    return ModelPlanner(settings.models, pipeline.record_model_call)


def _runners(settings: Settings) -> dict[str, Runner]:
    runners: dict[str, Runner] = {"ssh": SshRunner()}
    if settings.local_runner:
        runners["local"] = LocalRunner()
    return runners


@contextmanager
def _draining_at_sigterm(backend: Backend) -> Any:
    """Begin to drain at the signal itself.

    The server waits for open streams before it lets the lifespan end, and streams wait for their executions.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    replaced: dict[signal.Signals, Any] = {}

    def drain_then(previous: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(backend.supervisor.begin_drain, backend.settings.drain_seconds)
            if callable(previous):
                previous(number, frame)

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        replaced[number] = signal.getsignal(number)
        signal.signal(number, drain_then(replaced[number]))
    try:
        yield
    finally:
        for number, previous in replaced.items():
            signal.signal(number, previous)


def __getattr__(name: str) -> FastAPI:
    # Made when a server asks for it, not when the module is imported: importing reads no environment.
    if name != "app":
        raise AttributeError(name)
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    application = create_app(settings)
    globals()["app"] = application
    return application
