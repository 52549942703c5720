"""The server: what is checked before it starts, its workers, and what it announces."""

import asyncio
import math
import os
import signal
import socket
import sys
from contextlib import closing, suppress
from pathlib import Path

import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from app import logs
from app.backend import open_store
from app.errors import AossError, StoreUnavailableError
from app.security import is_loopback
from app.settings import Settings
from app.store.database import Database
from telemetry.environment import SettingsError
from telemetry.sdk.run import DirectoryRefusedError, open_directory
from telemetry.settings import TelemetrySettings

log = structlog.get_logger(__name__)


def serve(grace_seconds: int) -> int:
    """Serve until told to stop and return the exit code; the settings are those of the environment.

    A reader has `grace_seconds` beyond the drain limit to read the last events of its stream.
    """
    try:
        settings = Settings.from_environment(os.environ)
        telemetry_settings = TelemetrySettings.from_environment(os.environ)
    except SettingsError as error:
        _complain(f"these settings cannot be used:\n{error}")
        return 2
    if telemetry_settings.directory is not None:
        try:
            open_directory(Path(telemetry_settings.directory))
        except (DirectoryRefusedError, OSError) as error:
            _complain(f"AOSS_METRICS_DIR cannot be used: {error}")
            return 2
    return _serve(settings, grace_seconds)


def _serve(settings: Settings, grace_seconds: int) -> int:
    if not settings.api_key and not is_loopback(settings.host):
        _complain(
            f"refusing to listen on {settings.host} without a key: whoever reaches this address could "
            "run commands. Set AOSS_API_KEY (or AOSS_API_KEY_FILE), or listen on 127.0.0.1."
        )
        return 2
    logs.configure(settings.log_level, settings.log_format)
    try:
        # Before any worker starts, so that what is wrong is said once, and in one line.
        asyncio.run(_prepare_store(settings))
    except AossError as error:
        _complain(f"cannot start: {error}")
        return 1
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each event waits 40 ms for an ACK.
    with closing(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            _complain(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                "Choose another with --port or AOSS_PORT."
            )
            return 1
        listener.listen(2048)
        listener.set_inheritable(True)
        _announce(settings)
        config = uvicorn.Config(
            "app.main:app",
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds) + grace_seconds,
        )
        if settings.workers == 1:
            return _run(uvicorn.Server(config), listener)
        Multiprocess(config, sockets=[listener]).run()
        return 0


def _complain(message: str) -> None:
    print(f"aoss: {message}", file=sys.stderr)  # noqa: T201 - a command


async def _prepare_store(settings: Settings) -> None:
    database = Database(settings.database_url, settings.data_dir)
    try:
        await open_store(database, settings)
    except StoreUnavailableError as error:
        raise StoreUnavailableError(f"{database.engine.url!r}: {error}") from error
    finally:
        await database.close()


def _run(server: uvicorn.Server, listener: socket.socket) -> int:
    # The server raises the signal that stopped it once more when it is done; that was a clean stop, and is
    # answered by a handler of ours. Ignoring the signal instead would be inherited by every command.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0 if server.started else 3


def _announce(settings: Settings) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    print(  # noqa: T201 - a command
        f"""AOSS listens on {address}

  console   {address}/
  metrics   {address}/metrics
  servers   {address}/api/servers
  history   {address}/api/executions
  data      {settings.data_dir}

Ctrl-C stops it.
""",
        flush=True,
    )
