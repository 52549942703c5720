"""What happens in a run: sixty executions, a restart with a language model, a Collector in trouble."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import httpx

from telemetry.labels import AgentType
from tests.stack.deployment import METRICS_TOKEN, Deployment
from tests.stack.evidence import JOB, Run, fan_out
from tests.stack.scenario import (
    AFTER_THE_KILL,
    COMMAND_SECONDS,
    WORKERS,
    Client,
    Held,
    ordinary_work,
)
from tests.support import openai_server as model
from tests.support.backend import BackendProcess, running_backend, wait_for
from tests.support.openai_server import OpenAIServer, openai_server
from tests.support.sshd import RunningSshd
from tests.support.stack.prometheus import PrometheusServer

PATIENCE = 30.0


@contextmanager
def performed(deployment: Deployment, sshd: RunningSshd) -> Iterator[Run]:
    """Run all phases; the servers that hold the results stay up for the block."""
    data = deployment.folder / "data"
    settings = deployment.backend_environment() | {
        "AOSS_WORKERS": str(WORKERS),
        "AOSS_COMMAND_TIMEOUT_SECONDS": str(COMMAND_SECONDS),
        "AOSS_SSH_KEY_DIR": str(sshd.key_path.parent),
    }
    begun = time.time()
    with _backend(data, settings) as backend:
        client = Client(backend, sshd)
        with deployment.prometheus(backend.port) as prometheus:
            began = _scraped(prometheus)
            held = _executions(client, prometheus)
            ended = _scraped(prometheus)
            rows = list(client.rows())
            fan_outs = {"sixty executions": fan_out(backend, deployment, prometheus)}
            backend.stop()
            with _model_server() as server:
                server.replies += [
                    model.plan(("echo planned", False)),
                    model.recovery(("echo recovered", False, True)),
                    model.error(400),
                ]
                settings |= {
                    "AOSS_LLM_BASE_URL": server.base_url,
                    "AOSS_LLM_MODEL": "small",
                    "AOSS_GENAI_METRICS": "true",
                }
                with _backend(data, settings, backend.port) as restarted:
                    _with_a_model(restarted)
                    fan_outs["a restart, with a model"] = fan_out(restarted, deployment, prometheus)
                    _trouble(deployment, prometheus)
                    # The rules of the long windows read one value a minute, on the minute.
                    wait_for(lambda: prometheus.query("job:aoss_executions_bad:ratio_rate30d"), 60 + PATIENCE)
                    over = _scraped(prometheus)
            yield Run(
                prometheus=prometheus,
                alertmanager=deployment.alertmanager,
                begun=begun,
                began=began,
                held=held,
                ended=ended,
                over=over,
                executions=client.executions,
                rows=rows,
                fan_outs=fan_outs,
            )


@contextmanager
def _backend(folder: Path, settings: Mapping[str, str], port: int | None = None) -> Iterator[BackendProcess]:
    """Run a backend, at the port that another one had."""
    with ExitStack() as stack:
        if port is not None:
            stack.enter_context(patch("tests.support.backend.free_port", return_value=port))
        backend = stack.enter_context(running_backend(folder, settings))
        # Each request has a connection of its own, so that either worker may answer it.
        backend.http.close()
        backend.http = httpx.Client(
            base_url=backend.url,
            headers={"Authorization": f"Bearer {METRICS_TOKEN}"},
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        _wait_for_workers(backend)
        yield backend


def _executions(client: Client, prometheus: PrometheusServer) -> Held:
    """Run all sixty executions; two of them are held, then one is cancelled and the other's worker killed."""
    work = ordinary_work()
    client.run_ordinary(work[:-AFTER_THE_KILL])
    kill = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        cancelled = pool.submit(client.be_held, AgentType.NETWORK, "web-01")
        killed = pool.submit(client.be_killed, AgentType.DATABASE, "localhost", kill)
        wait_for(lambda: len(client.running()) == 2, PATIENCE)
        held = Held(_scraped(prometheus), len(client.running()))
        (row,) = (row for row in client.running() if row["agent_type"] == AgentType.NETWORK)
        assert client.backend.http.post(f"/api/executions/{row['id']}/cancel").status_code == 202
        cancelled.result()
        kill.set()
        killed.result()
    _wait_for_workers(client.backend)
    client.run_ordinary(work[-AFTER_THE_KILL:])
    return held


def _with_a_model(backend: BackendProcess) -> None:
    """Have a plan and a recovery made by the model, and a plan that it fails to make."""
    (step,) = backend.plan("say that it was planned", AgentType.SECURITY)
    assert backend.execute(step["command"], "exit 3")[-1]["final_status"] == "Success"
    refused = backend.http.post("/api/chat/plan", json={"serverId": 1, "query": "say it again"})
    assert refused.status_code == 502, refused.text


def _trouble(deployment: Deployment, prometheus: PrometheusServer) -> None:
    """Stop the Collector, and then have one that drops what it receives, until Prometheus has seen both."""

    def seen(metric: str) -> Callable[[], object]:
        return lambda: prometheus.query(f"count_over_time({metric}[1m]) > 1")

    deployment.collector.stop()
    wait_for(seen('otel_sdk_exporter_metric_data_point_exported_total{error_type!=""}'), PATIENCE)
    with deployment.dropping_collector():
        wait_for(seen("otelcol_exporter_enqueue_failed_metric_points"), PATIENCE)
        wait_for(seen("otelcol_exporter_send_failed_metric_points"), PATIENCE)


@contextmanager
def _model_server() -> Iterator[OpenAIServer]:
    """Run the model's server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = openai_server()
    try:
        yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(PATIENCE)
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _wait_for_workers(backend: BackendProcess) -> None:
    wait_for(lambda: backend.total("otel_sdk_worker_live") == WORKERS, PATIENCE)


def _scraped(prometheus: PrometheusServer) -> float:
    """Wait until Prometheus has scraped the backend, and then evaluated its rules; return the time."""
    asked = time.time()
    newest = f'min(timestamp(aoss_executions_total{{job="{JOB}"}}))'
    copied = f'min(timestamp(aoss_executions_completed{{job="{JOB}"}}))'
    wait_for(lambda: any(sample.value > asked for sample in prometheus.query(newest)), PATIENCE)
    scraped = prometheus.value(newest)
    wait_for(lambda: any(sample.value > scraped for sample in prometheus.query(copied)), PATIENCE)
    return round(time.time(), 3)  # as exact as Prometheus takes it
