"""The sections backend, workers and token, against each of their failures."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from app.doctor.backend import CHECKS, examine_backend
from app.doctor.findings import Section, Verdict
from app.doctor.scrape import Scrape
from app.doctor.web import Web
from app.doctor.workers import CHECKS as CHECKS_OF_WORKERS
from app.doctor.workers import Rounds, examine_workers
from tests.commands.doctor.conftest import Stack, the, verdicts
from tests.commands.doctor.servers import HTML, JSON, Page, answering, balancing
from tests.stack.deployment import METRICS_TOKEN
from tests.support.backend import BackendProcess, running_backend

ROOT = Path(__file__).parents[3]

ALIVE = Page(200, JSON, '{"status": "alive"}')
READY = Page(200, JSON, '{"status": "ready"}')
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@contextmanager
def backend_showing(metrics: Page) -> Iterator[str]:
    """Answer as a backend would whose metrics somebody else serves."""
    with answering({"/healthz": ALIVE, "/readyz": READY, "/metrics": metrics}) as url:
        yield url


def test_nobody_listens(web: Web, nobody: str) -> None:
    """A backend that is down is named with the refusal and how to start it; nothing else is tried."""
    findings, scrape = examine_backend(web, nobody, None)
    alive = the(findings, "backend.alive")
    assert (alive.verdict, "refused" in alive.reason, "aoss serve" in alive.remedy) == (
        Verdict.FAIL,
        True,
        True,
    )
    assert {each.verdict for each in findings if each is not alive} == {Verdict.SKIPPED}
    assert scrape is None


def test_another_port(web: Web, stack: Stack) -> None:
    """Another server at the address, here Prometheus itself, is told from a backend."""
    findings, _ = examine_backend(web, stack.prometheus.url, None)
    alive = the(findings, "backend.alive")
    assert (alive.verdict, "not AOSS" in alive.reason) == (Verdict.FAIL, True)


def test_no_http(web: Web, stack: Stack) -> None:
    """A port that speaks something else than HTTP/1 is said so, without a traceback."""
    findings, _ = examine_backend(web, f"http://{stack.collector.grpc}", None)
    assert the(findings, "backend.alive").verdict is Verdict.FAIL


def test_database_away(web: Web, plain_backend: BackendProcess) -> None:
    """A database that cannot be used is a failure of its own, and the metrics are examined all the same."""
    database = Path(plain_backend.environment["AOSS_DATA_DIR"]) / "aoss.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version")
        connection.execute("UPDATE alembic_version SET version_num = 'another'")
        try:
            findings, _ = examine_backend(web, plain_backend.url, None)
        finally:
            connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    ready = the(findings, "backend.ready")
    assert (ready.verdict, "another" in ready.reason) == (Verdict.FAIL, True)
    assert verdicts(findings)["workers.agree"] == "ok"


def test_disabled(web: Web, tmp_path: Path) -> None:
    """With OTEL_SDK_DISABLED the page is empty; the remedy names the variables."""
    with running_backend(tmp_path / "aoss", {"OTEL_SDK_DISABLED": "true"}) as backend:
        findings, _ = examine_backend(web, backend.url, None)
    series = the(findings, "backend.series")
    assert (series.verdict, "OTEL_SDK_DISABLED" in series.remedy) == (Verdict.FAIL, True)
    assert verdicts(findings)["workers.agree"] == "skipped"


def test_unknown_host(web: Web, plain_backend: BackendProcess) -> None:
    """A name that the backend does not know leads to AOSS_ALLOWED_HOSTS."""
    # On Linux it connects to this machine, and is no address of loopback.
    findings, _ = examine_backend(web, plain_backend.url.replace("127.0.0.1", "0.0.0.0"), None)  # noqa: S104
    metrics = the(findings, "backend.metrics")
    assert (metrics.verdict, "AOSS_ALLOWED_HOSTS" in metrics.remedy) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("metrics", "check", "reason"),
    [
        (Page(200, HTML, "<p>Sign in</p>"), "format", "text/html"),
        (Page(200, TEXT, "this is { no exposition"), "format", "cannot be parsed"),
        (Page(200, TEXT, "# TYPE x counter\nx_total 1\nx_total 1\n"), "format", "twice"),
        (Page(200, TEXT, "# TYPE up gauge\nup 1\n"), "series", "missing: aoss_executions_total"),
        (Page(500, TEXT, "The metrics cannot be read; the log says why.\n"), "metrics", "500 The metrics"),
        (Page(302, HTML, "Moved"), "metrics", "302"),
    ],
)
def test_what_is_no_scrape(web: Web, metrics: Page, check: str, reason: str) -> None:
    """What is no scrape, or one of somebody else, is told apart, each with a remedy."""
    with backend_showing(metrics) as url:
        findings, _ = examine_backend(web, url, None)
    found = the(findings, f"backend.{check}")
    assert (found.verdict, reason in found.reason, found.remedy != "") == (Verdict.FAIL, True, True)


def test_a_cache_in_between(web: Web, plain_backend: BackendProcess) -> None:
    """A page that somebody keeps does not move, and that is said."""
    kept = plain_backend.http.get("/metrics").text
    with backend_showing(Page(200, TEXT, kept)) as url:
        findings, _ = examine_backend(web, url, None)
    assert the(findings, "backend.moving").verdict is Verdict.FAIL


def test_a_token_is_for_those_who_ask(web: Web, plain_backend: BackendProcess) -> None:
    """Whoever answers without asking for a token is sent none, then or later."""
    heard: list[str | None] = []
    pages = {
        "/healthz": ALIVE,
        "/readyz": READY,
        "/metrics": Page(200, TEXT, plain_backend.http.get("/metrics").text),
    }
    with answering(pages, heard=heard) as url:
        examine_backend(web, url, "hush")
    assert (len(heard) > 30, set(heard)) == (True, {None})


def test_what_the_pipeline_lost(web: Web, plain_backend: BackendProcess) -> None:
    """Series and files that the pipeline left out are warnings that lead to their runbooks."""
    text = plain_backend.http.get("/metrics").text
    for name, value in (
        ("otel_sdk_worker_skipped_segments", 1),
        ("otel_sdk_metric_dropped_series_total", 2),
        ("otel_sdk_metric_overflowed_sets_total", 3),
    ):
        assert f"\n{name} 0\n" in text
        text = text.replace(f"\n{name} 0\n", f"\n{name} {value}\n")
    with backend_showing(Page(200, TEXT, text)) as url:
        findings, _ = examine_backend(web, url, None)
    lost = [each for each in findings if each.check == "complete"]
    assert [(each.verdict, each.reason[0]) for each in lost] == [(Verdict.WARN, digit) for digit in "123"]
    assert [(ROOT / each.remedy.removeprefix("See ")).is_file() for each in lost] == [True] * 3


def test_workers_with_numbers_of_their_own(web: Web, official_backend: BackendProcess) -> None:
    """The official SDK under 2 workers is found out, and the remedy names the variable."""
    findings, _ = examine_backend(web, official_backend.url, None)
    agree = the(findings, "workers.agree")
    assert agree.verdict is Verdict.FAIL
    assert "2 processes answer, each with numbers of its own" in agree.reason
    assert "OTEL_PYTHON_METER_PROVIDER" in agree.remedy


def test_two_runs_behind_one_address(web: Web, plain_backend: BackendProcess, tmp_path: Path) -> None:
    """A balancer between two backends is found out, with the counters that went back."""
    with running_backend(tmp_path / "aoss") as second:
        for _ in range(20):
            plain_backend.http.get("/openapi.json")
        # Of 36 connections the third, the first scrape, goes to the busier one, and the last to the other.
        with balancing([plain_backend.port, second.port]) as url:
            findings, _ = examine_backend(web, url, None)
    agree = the(findings, "workers.agree")
    assert (agree.verdict, agree.reason[:16]) == (Verdict.FAIL, "2 different runs")
    assert "address of its own" in agree.remedy
    steady = the(findings, "workers.steady")
    assert (steady.verdict, "aoss_api_requests_total" in steady.reason) == (Verdict.FAIL, True)


def test_workers_that_do_not_say_who_they_are() -> None:
    """Without target_info too, a scrape that lacks one of the requests is found out."""

    def counted(requests: float) -> Scrape:
        return Scrape({("aoss_api_requests_total", frozenset()): requests})

    section = Section("workers", CHECKS_OF_WORKERS)
    examine_workers(section, Rounds(counted(5), 16, [counted(21), counted(20)], counted(22)))
    assert [each.verdict for each in section.findings] == [Verdict.FAIL, Verdict.OK]
    assert section.findings[0].reason.startswith("1 of 3 scrapes lack some of 16 requests")


def test_answers_that_change(web: Web, plain_backend: BackendProcess, stack: Stack) -> None:
    """A balancer whose backends do not all let in is a failure, not a traceback."""
    with balancing([plain_backend.port, stack.backend.port]) as url:
        findings, _ = examine_backend(web, url, None)
    moving = the(findings, "backend.moving")
    assert (moving.verdict, "401" in moving.reason) == (Verdict.FAIL, True)


def test_token(web: Web, stack: Stack) -> None:
    """The right token is accepted; none and a wrong one are failures that end the section."""
    right, _ = examine_backend(web, stack.backend.url, METRICS_TOKEN)
    assert the(right, "token.access").reason == "the token is accepted, and without it /metrics answers 401"
    for token, reason in ((None, "a token is wanted"), ("wrong", "not the one it wants")):
        findings, _ = examine_backend(web, stack.backend.url, token)
        access = the(findings, "token.access")
        assert (access.verdict, reason in access.reason) == (Verdict.FAIL, True)
        assert "AOSS_METRICS_TOKEN" in access.remedy
        skipped = [f"backend.{check}" for check in CHECKS[2:]]
        assert [verdicts(findings)[check] for check in skipped] == ["skipped"] * len(skipped)


def test_a_token_that_nobody_asks_for(web: Web, plain_backend: BackendProcess) -> None:
    """A token given to a backend that is open to everyone is a warning; without one all is well."""
    given, _ = examine_backend(web, plain_backend.url, "anything")
    assert the(given, "token.access").verdict is Verdict.WARN
    open_, _ = examine_backend(web, plain_backend.url, None)
    assert set(verdicts(open_).values()) == {"ok"}
