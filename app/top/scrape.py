"""Fetches a /metrics address, bounded in time and size, and says in plain words why that failed."""

import time
from dataclasses import dataclass
from typing import Self

import httpx2

from app.commands.errors import CommandError
from app.fetching import BoundedClient, Bounds, NoAnswerError
from app.top.exposition import Exposition, NotMetricsError, parse

# No escaping is asked for: names then come as both formats have always had them.
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.8,*/*;q=0.1"
BOUNDS = Bounds(silence_seconds=5.0, answer_seconds=30.0, body_bytes=256 * 1024 * 1024)


class ScrapeError(CommandError):
    """Say why an address gave no metrics, in words for the user."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What an address answered, in how many seconds and bytes of text; `at` is of time.monotonic."""

    at: float
    seconds: float
    size: int
    openmetrics: bool
    exposition: Exposition


class Address:
    """A /metrics address; for one thread at a time."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self._target = httpx2.URL(url)
        self._token = token
        self._asked_for_token = False
        self._client = BoundedClient("aoss", BOUNDS, keep_connections=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def scrape(self) -> Scrape:
        """Return one scrape; raises ScrapeError."""
        begun = time.monotonic()
        response, body = self._get()
        if response.status_code == 401 and self._token and not self._asked_for_token:
            # Only whoever asks for a token is sent one: the address may be of another service.
            self._asked_for_token = True
            begun = time.monotonic()
            response, body = self._get()
        moved = response.next_request
        if moved is not None and _origin(moved.url) == _origin(self._target):
            # As a mounted endpoint does, whose address ends in a slash.
            self._target = moved.url
            begun = time.monotonic()
            response, body = self._get()
        seconds = time.monotonic() - begun
        self._check(response)
        content_type = response.headers.get("Content-Type", "")
        try:
            exposition = parse(body.decode("utf-8", "replace"))
        except NotMetricsError as error:
            what = "a web page" if "html" in content_type else content_type or "no content type"
            raise ScrapeError(
                f"{self.url} does not answer with metrics ({what}; {error}): is the path right?"
            ) from error
        return Scrape(
            begun, seconds, len(body), content_type.startswith("application/openmetrics-text"), exposition
        )

    def _get(self) -> tuple[httpx2.Response, bytes]:
        headers = {"Accept": ACCEPT}
        if self._asked_for_token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            return self._client.get(self._target, headers)
        except NoAnswerError as error:
            raise ScrapeError(str(error)) from error

    def _check(self, response: httpx2.Response) -> None:
        match response.status_code:
            case 200:
                return
            case 401 | 403 if self._asked_for_token:
                why = "the token is not the right one"
            case 401:
                why = "it wants a token: give --token-file, or set AOSS_METRICS_TOKEN"
            case 404:
                why = "there is nothing at this path; metrics are usually at /metrics"
            case status if 300 <= status < 400:
                why = f"it redirects: give the address it leads to, {response.headers.get('Location')!r}"
            case _:
                why = "its log may say why"
        raise ScrapeError(f"{self.url} answers {response.status_code}: {why}")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
