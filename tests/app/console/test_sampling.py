"""The samples that the charts are drawn from: what /metrics shows, at every worker, whoever dies."""

import gzip
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.console.ring import INTERVAL_SECONDS, OwnRing
from app.console.sampling import FAMILIES, Sampling, reduced
from telemetry.settings import OFFICIAL_SDK
from tests.support.backend import BackendProcess, running_backend, wait_for

EXPOSITION = r"""# HELP aoss_executions_total x
aoss_executions_total{agent_type="general",server_tag="a"} 2
aoss_executions_total{agent_type="general",server_tag="b\",agent_type=\"c"} 3.0
aoss_executions_total{agent_type="network",server_tag="a"} 0
aoss_active_executions{agent_type="general"} 1
aoss_execution_duration_seconds_bucket{agent_type="general",status="Success",le="0.05"} 1
aoss_execution_duration_seconds_bucket{agent_type="general",status="Success",le="+Inf"} 4
aoss_execution_duration_seconds_sum{agent_type="general",status="Success"} 1.25
aoss_execution_duration_seconds_count{agent_type="general",status="Success"} 4
aoss_execution_step_duration_seconds_count{agent_type="general",status="Success"} 4
aoss_executions_total_count 7
target_info{service_name="aoss"} 1
"""


def test_reduced() -> None:
    """Families that are drawn are kept without zeros, and servers are summed, whatever their names hold."""
    success = 'agent_type="general",status="Success"'
    assert reduced(EXPOSITION) == {
        'aoss_executions_total{agent_type="general"}': 5,
        'aoss_active_executions{agent_type="general"}': 1,
        f'aoss_execution_duration_seconds_bucket{{{success},le="0.05"}}': 1,
        f'aoss_execution_duration_seconds_bucket{{{success},le="+Inf"}}': 4,
        f"aoss_execution_duration_seconds_sum{{{success}}}": 1.25,
        f"aoss_execution_duration_seconds_count{{{success}}}": 4,
    }


def test_a_failure_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A sample that fails is told once for as long as it goes on failing, and never raises."""
    answers: Iterator[OSError | str] = iter([OSError("first"), OSError("second"), "", OSError("third")])

    def scrape() -> str:
        answer = next(answers)
        if isinstance(answer, str):
            return answer
        raise answer

    sampling = Sampling(OwnRing(), scrape)
    for _ in range(4):
        sampling.sample()
    told = capsys.readouterr().out
    assert [each in told for each in ("first", "second", "third")] == [True, False, True]


def newest(backend: BackendProcess, **parameters: int) -> dict[str, Any]:
    """Return the samples, asked for on a connection of its own."""
    answer = httpx.get(f"{backend.url}/api/console/samples", params=parameters, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    got: dict[str, Any] = answer.json()
    return got


def sampler_of(backend: BackendProcess) -> int | None:
    """Return the worker that has the samples' lock."""
    for child in psutil.Process(backend.process.pid).children():
        if any(file.path.endswith("console.lock") for file in child.open_files()):
            return child.pid
    return None


@pytest.mark.timeout(120)
def test_every_worker_shows_what_one_samples(data_dir: Path) -> None:
    """A sample equals /metrics, all workers serve the same ones, and a killed sampler is followed."""
    with running_backend(data_dir, {"AOSS_WORKERS": "2"}) as backend:
        wait_for(lambda: backend.total("otel_sdk_worker_live") == 2, 30)
        backend.execute("true")
        backend.execute("false", agent_type="network")
        shown = backend.total("aoss_executions_total")
        assert shown == 2
        last = newest(backend)["samples"][-1]["seq"] if newest(backend)["samples"] else 0
        wait_for(lambda: newest(backend, after=last)["samples"] != [], 3 * INTERVAL_SECONDS)
        sample = newest(backend, after=last)["samples"][-1]["values"]
        assert sample == reduced(backend.http.get("/metrics").text)

        answers = [newest(backend) for _ in range(20)]
        for number in range(1, 20):
            old, new = answers[number - 1]["samples"], answers[number]["samples"]
            assert new[: len(old)] == old
        before = answers[-1]
        assert (before["families"], before["interval"]) == (FAMILIES, INTERVAL_SECONDS)

        killed = sampler_of(backend)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        known = before["samples"][-1]["seq"]
        wait_for(lambda: newest(backend, after=known)["samples"] != [], 4 * INTERVAL_SECONDS)
        wait_for(lambda: backend.total("otel_sdk_worker_live") == 2, 30)
        after = newest(backend)
        assert after["run"] == before["run"]
        assert after["samples"][: len(before["samples"])] == before["samples"]
        assert [each["seq"] for each in after["samples"]] == list(range(1, len(after["samples"]) + 1))
        assert sampler_of(backend) not in (None, killed)


def test_the_official_sdk(data_dir: Path) -> None:
    """Under the official SDK, whose numbers are a worker's own, its samples are, too."""
    with running_backend(data_dir, {"OTEL_PYTHON_METER_PROVIDER": OFFICIAL_SDK}) as backend:
        backend.execute("true")
        wait_for(lambda: newest(backend)["samples"][-1:] != [], 2 * INTERVAL_SECONDS)
        last = newest(backend)["samples"][-1]["seq"]
        wait_for(lambda: newest(backend, after=last)["samples"] != [], 3 * INTERVAL_SECONDS)
        values = newest(backend)["samples"][-1]["values"]
        assert values == reduced(backend.http.get("/metrics").text)
        assert values['aoss_executions_total{agent_type="general"}'] == 1


def test_compressed(backend: BackendProcess) -> None:
    """The answer is compressed only for who takes it."""
    plain, packed = (
        backend.http.build_request("GET", "/api/console/samples", headers={"Accept-Encoding": coding})
        for coding in ("identity", "gzip")
    )
    with_gzip = backend.http.send(packed, stream=True)
    body = b"".join(with_gzip.iter_raw())
    with_gzip.close()
    without = backend.http.send(plain)
    assert (with_gzip.headers["content-encoding"], without.headers.get("content-encoding")) == ("gzip", None)
    assert json.loads(gzip.decompress(body))["families"] == without.json()["families"] == FAMILIES


def test_watching_moves_nothing(backend: BackendProcess) -> None:
    """Asking for samples is not counted among the requests."""
    before = backend.total("aoss_api_requests_total")
    backend.http.get("/api/console/samples")
    assert backend.total("aoss_api_requests_total") == before


@pytest.mark.parametrize("after", ["-1", "x", str(2**31)])
def test_what_is_wrong_is_named(backend: BackendProcess, after: str) -> None:
    """A number that none can be is refused."""
    answer = backend.http.get("/api/console/samples", params={"after": after})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "after"])
