"""GET over HTTP within bounds of time and size, with failures in plain words."""

import ssl
import time
from dataclasses import dataclass

import httpx2


class NoAnswerError(Exception):
    """Say why no answer came, in words for the user."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The longest silence and the longest answer, in seconds, and the largest body, in bytes."""

    silence_seconds: float
    answer_seconds: float
    body_bytes: int


class BoundedClient:
    """A client that follows no redirect and asks no proxy; safe to use from several threads."""

    def __init__(self, user_agent: str, bounds: Bounds, *, keep_connections: bool) -> None:
        self._bounds = bounds
        self._http = httpx2.Client(
            # The environment's proxy would be asked for loopback addresses, and its .netrc for a password.
            trust_env=False,
            verify=ssl.create_default_context(),
            timeout=bounds.silence_seconds,
            limits=httpx2.Limits(max_keepalive_connections=None if keep_connections else 0),
            headers={"User-Agent": user_agent} | ({} if keep_connections else {"Connection": "close"}),
        )

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def get(self, url: httpx2.URL | str, headers: dict[str, str]) -> tuple[httpx2.Response, bytes]:
        """Return an answer, whatever its status, and its whole body; raises NoAnswerError."""
        bounds = self._bounds
        deadline = time.monotonic() + bounds.answer_seconds
        body = bytearray()
        try:
            with self._http.stream("GET", url, headers=headers) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > bounds.body_bytes:
                        raise NoAnswerError(f"{url} sent more than {bounds.body_bytes // 1024**2} MiB")
                    if time.monotonic() > deadline:
                        raise NoAnswerError(f"{url} was not done after {bounds.answer_seconds:g} s")
                return response, bytes(body)
        except httpx2.TimeoutException as error:
            raise NoAnswerError(f"{url} did not answer within {bounds.silence_seconds:g} s") from error
        except httpx2.ConnectError as error:
            raise NoAnswerError(f"{url} cannot be reached: {plain(error)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NoAnswerError(f"{url} does not answer as a web server would: {plain(error)}") from error


def plain(error: Exception) -> str:
    """Return an error's words without the system's number (`[Errno 111] Connection refused`), in one line."""
    words = str(error)
    words = words.rpartition("] ")[2] if words.startswith("[Errno") else words
    return "".join(each if each.isprintable() else "?" for each in words) or type(error).__name__
