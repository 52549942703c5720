"""HTTP as the checks need it: a connection for each request, bounds, and errors in plain words."""

import base64
import ssl
import time
from dataclasses import dataclass
from typing import Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound=BaseModel)

# Prometheus gives a scrape as long, and takes as much.
TOTAL_SECONDS = 10.0
BODY_LIMIT_BYTES = 50 * 1024 * 1024
_WAIT_SECONDS = 5.0
_SHOWN_CHARACTERS = 200


class NoAnswerError(Exception):
    """Say why no answer came, in words for the user."""


class ForeignAnswerError(Exception):
    """Say that an answer is not what such a server would send."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    content_type: str
    text: str

    def parsed(self, model: type[T]) -> T:
        """Return the body as the JSON object that `model` describes; raises ForeignAnswerError."""
        try:
            return model.model_validate_json(self.text)
        except ValidationError as error:
            raise ForeignAnswerError(f"the answer is not the expected JSON: {self.said()}") from error

    def said(self) -> str:
        """Return the status and the beginning of the body, for a person to read."""
        shown = " ".join(self.text.split())
        cut = f"{shown[:_SHOWN_CHARACTERS]}…" if len(shown) > _SHOWN_CHARACTERS else shown
        return f"{self.status} {cut}".strip()


class Web:
    """A client that keeps no connection and follows no redirect; safe to use from several threads."""

    def __init__(self) -> None:
        self._client = httpx2.Client(
            # A proxy of the environment would answer for servers that only it can reach, or cannot.
            trust_env=False,
            verify=ssl.create_default_context(),
            timeout=_WAIT_SECONDS,
            limits=httpx2.Limits(max_keepalive_connections=0),
            headers={"User-Agent": "aoss-doctor", "Connection": "close"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str, authorization: str | None = None, accept: str = "*/*") -> Answer:
        """Return the answer to a GET, whatever its status; raises NoAnswerError after at most 10 s."""
        headers = {"Accept": accept}
        if authorization:
            headers["Authorization"] = authorization
        deadline = time.monotonic() + TOTAL_SECONDS
        body = bytearray()
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > BODY_LIMIT_BYTES:
                        raise NoAnswerError(f"{url} sent more than {BODY_LIMIT_BYTES // 1024**2} MiB")
                    if time.monotonic() > deadline:
                        raise NoAnswerError(f"{url} was not done after {TOTAL_SECONDS:.0f} s")
                content_type = response.headers.get("Content-Type", "")
                return Answer(response.status_code, content_type, body.decode("utf-8", "replace"))
        except httpx2.TimeoutException as error:
            raise NoAnswerError(f"{url} did not answer within {_WAIT_SECONDS:.0f} s") from error
        except httpx2.ConnectError as error:
            raise NoAnswerError(f"{url} cannot be reached: {_reason(error)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NoAnswerError(f"{url} does not answer as a web server would: {_reason(error)}") from error


def bearer(token: str | None) -> str | None:
    """Return the Authorization header of a token, None without one."""
    return f"Bearer {token}" if token else None


def basic(user_and_password: str) -> str:
    """Return the Authorization header of USER:PASSWORD."""
    return f"Basic {base64.b64encode(user_and_password.encode()).decode()}"


def _reason(error: Exception) -> str:
    # The system's words without its number: `[Errno 111] Connection refused`.
    return str(error).partition("] ")[2] if str(error).startswith("[Errno") else str(error)
