"""The backend: does it answer, are its metrics what Prometheus takes, are they there, and do they move?"""

import json
from typing import NamedTuple

from pydantic import BaseModel

from app.doctor.findings import Finding, Section
from app.doctor.scrape import ACCEPT, CONTENT_TYPES, ParseError, Scrape, media_type, parsed
from app.doctor.web import Answer, Web, bearer
from app.doctor.workers import CHECKS as WORKERS_CHECKS
from app.doctor.workers import Rounds, examine_workers, make_rounds
from app.fetching import NoAnswerError
from telemetry.catalogue import API_REQUESTS, CATALOGUE
from telemetry.watching import DROPPED_SERIES, OVERFLOWED_SETS, SKIPPED_SEGMENTS

CHECKS = ("alive", "ready", "metrics", "format", "series", "moving", "complete")
TOKEN_CHECKS = ("access",)

# These exist before their first event; the others appear with it.
EXPECTED = (*(each for each in CATALOGUE if each.zero_series), API_REQUESTS)

_START = "Start it with `aoss serve`, or give the address at which it listens: aoss doctor http://HOST:PORT"
_NOTHING = (
    "Unset OTEL_SDK_DISABLED, and let OTEL_METRICS_EXPORTER name prometheus or be unset; then start it again"
)


class _Alive(BaseModel):
    status: str


class _Refusal(BaseModel):
    detail: str = ""


class Scraped(NamedTuple):
    """An answer of /metrics, and the token that it took."""

    answer: Answer
    token: str | None


def examine_backend(web: Web, url: str, token: str | None) -> tuple[list[Finding], Scrape | None]:
    """Return the findings of the sections backend, workers and token, and the last scrape if there is one."""
    backend = Section("backend", CHECKS)
    workers = Section("workers", WORKERS_CHECKS)
    access = Section("token", TOKEN_CHECKS)
    last = None
    if not _is_alive(backend, web, url):
        backend.skip_rest("the backend does not answer")
    elif (scraped := _metrics(backend, access, web, url, token)) is not None:
        rounds = _rounds(backend, scraped, web, url)
        if rounds is not None:
            last = rounds.last
            _check_series(backend, rounds)
            examine_workers(workers, rounds)
    backend.skip_rest("the metrics cannot be read")
    workers.skip_rest("the metrics cannot be read")
    access.skip_rest("the metrics do not answer")
    return [*backend.findings, *workers.findings, *access.findings], last


def _is_alive(section: Section, web: Web, url: str) -> bool:
    try:
        answer = web.get(f"{url}/healthz")
    except NoAnswerError as error:
        section.fail("alive", str(error), _START)
        return False
    try:
        alive = answer.status == 200 and _Alive.model_validate_json(answer.text).status == "alive"
    except ValueError:
        alive = False
    if not alive:
        section.fail(
            "alive", f"something that is not AOSS answers {url}/healthz with {answer.said()}", _START
        )
        return False
    section.ok("alive", f"AOSS answers at {url}")
    _check_ready(section, web, url)
    return True


def _check_ready(section: Section, web: Web, url: str) -> None:
    try:
        answer = web.get(f"{url}/readyz")
    except NoAnswerError as error:
        section.fail("ready", str(error), "See the backend's log")
        return
    if answer.status == 200:
        section.ok("ready", "the database is reachable")
    else:
        section.fail(
            "ready",
            f"it cannot work: {_detail(answer)}",
            "See that the database of AOSS_DATABASE_URL is there; the backend's log says more",
        )


def _metrics(section: Section, access: Section, web: Web, url: str, token: str | None) -> Scraped | None:
    address = f"{url}/metrics"
    try:
        answer = web.get(address, accept=ACCEPT)
        # Only to whoever asks for it: what answers here may not be the backend that it belongs to.
        wanted = answer.status == 401
        if wanted and token:
            answer = web.get(address, bearer(token), ACCEPT)
    except NoAnswerError as error:
        section.fail("metrics", str(error), "See the backend's log")
        return None
    if answer.status == 401:
        given = "the token that was given is not the one it wants" if token else "a token is wanted"
        access.fail(
            "access",
            f"/metrics answers 401: {given}",
            "Give AOSS_METRICS_TOKEN, or else AOSS_API_KEY, with --token-file FILE or in the environment",
        )
        section.skip_rest("the token is missing or wrong")
        return None
    if answer.status != 200:
        _refused(section, answer)
        return None
    section.ok("metrics", f"{address} answers, {len(answer.text.encode())} bytes")
    if wanted:
        access.ok("access", "the token is accepted, and without it /metrics answers 401")
    elif token:
        access.warn(
            "access",
            "a token was given, and /metrics answers without one",
            "Set AOSS_METRICS_TOKEN or AOSS_API_KEY at the backend, unless everyone may read the metrics",
        )
    else:
        access.ok("access", "no token is wanted")
    return Scraped(answer, token if wanted else None)


def _refused(section: Section, answer: Answer) -> None:
    detail = _detail(answer)
    if answer.status == 400 and "AOSS_ALLOWED_HOSTS" in detail:
        remedy = "Add the name to AOSS_ALLOWED_HOSTS at the backend"
    elif answer.status == 403:
        remedy = "Set AOSS_API_KEY at the backend, and give the key here with --token-file FILE"
    else:
        remedy = "See the backend's log"
    section.fail("metrics", f"/metrics answers {answer.status}: {detail}", remedy)


def _rounds(section: Section, scraped: Scraped, web: Web, url: str) -> Rounds | None:
    answer = scraped.answer
    kind = media_type(answer)
    if kind not in CONTENT_TYPES:
        section.fail(
            "format",
            f"/metrics has the content type {answer.content_type or '(none)'!r}, which Prometheus refuses",
            "See what stands between: a proxy that answers itself, or another program at this address",
        )
        return None
    try:
        first = parsed(answer)
        if not first.samples:
            section.ok("format", f"{kind}, empty")
            section.fail("series", "/metrics answers with nothing", _NOTHING)
            section.skip_rest("there are no series")
            return None
        section.ok("format", f"{kind}, {len(first.samples)} samples, each series once")
        return make_rounds(web, url, scraped.token, first)
    except ParseError as error:
        section.fail("format", str(error), "Report this as a bug, with the text of /metrics")
    except NoAnswerError as error:
        section.fail("moving", str(error), "See the backend's log")
    return None


def _check_series(section: Section, rounds: Rounds) -> None:
    missing = [each.prometheus_name for each in EXPECTED if each.prometheus_name not in rounds.last.names]
    if missing:
        section.fail(
            "series",
            f"missing: {', '.join(missing)}",
            "See that this is AOSS, and in the version of this tool",
        )
    else:
        section.ok("series", f"all {len(EXPECTED)} metrics that exist from the start on are there")
    counter = API_REQUESTS.prometheus_name
    if rounds.largest_rise > 0:
        section.ok("moving", f"{counter} has counted the requests of this check")
    else:
        section.fail(
            "moving",
            f"{counter} stands still at {rounds.first.total(counter):g} after {rounds.requests} requests",
            "See the backend's log for errors of the metrics, and start it again",
        )
    _check_complete(section, rounds.last)


def _check_complete(section: Section, scrape: Scrape) -> None:
    lost = []
    if skipped := scrape.total(SKIPPED_SEGMENTS.prometheus_name):
        lost.append((f"{skipped:g} files of workers cannot be read", "AossScrapeFailing"))
    if dropped := scrape.total(DROPPED_SERIES.prometheus_name):
        lost.append((f"{dropped:g} series were dropped for want of space", "AossSeriesDropped"))
    if overflowed := scrape.total(OVERFLOWED_SETS.prometheus_name):
        lost.append((f"{overflowed:g} label sets have no series of their own", "AossSeriesOverflow"))
    for reason, runbook in lost:
        section.warn("complete", reason, f"See docs/runbooks/{runbook}.md")
    if not lost:
        section.ok("complete", "nothing was dropped or left out")


def _detail(answer: Answer) -> str:
    try:
        return _Refusal.model_validate(json.loads(answer.text)).detail or answer.said()
    except ValueError:
        return answer.said()
