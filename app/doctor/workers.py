"""Several workers: whichever answers, the totals must be the same.

The backend does not say which worker answers. So a known number of requests is spread over connections of
their own, and scrapes on further ones must each show all of them. Workers that count for themselves show only
their own part.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlencode

from app.doctor.findings import Section
from app.doctor.scrape import ACCEPT, Scrape, parsed
from app.doctor.web import Web, bearer
from app.fetching import NoAnswerError
from telemetry.catalogue import API_REQUESTS, CATALOGUE, Kind
from telemetry.watching import LIVE_WORKERS

CHECKS = ("agree", "steady")

# Measured with idle workers: two of two took part in 100 runs of 100, four of four in 50 of 50.
REQUESTS = 16
# Enough at once that workers must share them; few enough for the listen queue of anything.
_AT_ONCE = 8
# Counted, cheap, and without an effect; a refusal counts as well.
_COUNTED_PATH = "/openapi.json"

_COUNTERS = tuple(each.prometheus_name for each in CATALOGUE if each.kind is not Kind.UP_DOWN_COUNTER)
_OWN_NUMBERS = "Unset OTEL_PYTHON_METER_PROVIDER, so that workers share their numbers, or run one worker"


@dataclass(frozen=True, slots=True)
class Rounds:
    """A scrape, a number of requests, as many scrapes of the few series in question, and a last whole one."""

    first: Scrape
    requests: int
    between: list[Scrape]
    last: Scrape

    @property
    def rises(self) -> list[float]:
        """Return by how much each later scrape shows more requests than the first."""
        name = API_REQUESTS.prometheus_name
        return [scrape.total(name) - self.first.total(name) for scrape in (*self.between, self.last)]

    @property
    def largest_rise(self) -> float:
        """Return by how much the requests have risen at most."""
        return max(self.rises)

    @property
    def identities(self) -> set[str]:
        """Return the instances that answered: one a run, or one a worker where each counts for itself."""
        return {
            labels.get("service_instance_id", "")
            for scrape in (self.first, *self.between, self.last)
            for labels in scrape.labels("target_info")
        }

    def gone_back(self) -> list[str]:
        """Return the AOSS counters and histograms with series that are lower in the last scrape, or gone."""
        later = self.last.counts(_COUNTERS)
        first = self.first.counts(_COUNTERS)
        return sorted({series[0] for series, value in first.items() if later.get(series, 0) < value})


def make_rounds(web: Web, url: str, token: str | None, first: Scrape) -> Rounds:
    """Make the requests and scrapes after a first one; raises NoAnswerError and ParseError."""
    names = (API_REQUESTS.prometheus_name, LIVE_WORKERS.prometheus_name, "target_info")
    few = f"{url}/metrics?{urlencode([('name[]', name) for name in names])}"
    authorization = bearer(token)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda _: web.get(f"{url}{_COUNTED_PATH}", authorization), range(REQUESTS)))
        answers = list(pool.map(lambda _: web.get(few, authorization, ACCEPT), range(REQUESTS)))
    answers.append(web.get(f"{url}/metrics", authorization, ACCEPT))
    for answer in answers:
        if answer.status != 200:
            raise NoAnswerError(f"/metrics answered, and then answers {answer.said()}")
    *between, last = map(parsed, answers)
    return Rounds(first, REQUESTS, between, last)


def examine_workers(section: Section, rounds: Rounds) -> None:
    """Judge whether all who answered show the same totals, and whether none went back."""
    shared = LIVE_WORKERS.prometheus_name in rounds.last.names
    short = sum(rise < rounds.requests for rise in rounds.rises)
    made = f"{rounds.requests} requests made over as many connections"
    if shared and len(rounds.identities) > 1:
        section.fail(
            "agree",
            f"{len(rounds.identities)} different runs of the backend answer at this address",
            "Scrape each of them at an address of its own: a balancer between would mix their numbers",
        )
    elif len(rounds.identities) > 1:
        section.fail(
            "agree",
            f"{len(rounds.identities)} processes answer, each with numbers of its own: "
            f"{short} of {len(rounds.rises)} scrapes lack some of {made}",
            _OWN_NUMBERS,
        )
    elif short:
        section.fail("agree", f"{short} of {len(rounds.rises)} scrapes lack some of {made}", _OWN_NUMBERS)
    else:
        workers = (
            f"{rounds.last.total(LIVE_WORKERS.prometheus_name):g} live" if shared else "one that answers"
        )
        section.ok("agree", f"workers: {workers}; each of {len(rounds.rises)} scrapes shows all of {made}")
    if back := rounds.gone_back():
        section.fail(
            "steady",
            f"between two scrapes these went back: {', '.join(back)}",
            "Unless the backend was started again just now, see `agree`",
        )
    else:
        section.ok("steady", "no counter went back between the scrapes")
