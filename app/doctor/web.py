"""HTTP as the checks need it: a connection for each request, bounds, and errors in plain words."""

import base64
from dataclasses import dataclass
from typing import Self, TypeVar

from pydantic import BaseModel, ValidationError

from app.fetching import BoundedClient, Bounds

T = TypeVar("T", bound=BaseModel)

# Prometheus gives a scrape as long, and takes as much.
BOUNDS = Bounds(silence_seconds=5.0, answer_seconds=10.0, body_bytes=50 * 1024 * 1024)
_SHOWN_CHARACTERS = 200


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

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self._client = BoundedClient("aoss-doctor", bounds, keep_connections=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str, authorization: str | None = None, accept: str = "*/*") -> Answer:
        """Return the answer to a GET, whatever its status; raises NoAnswerError after at most 10 s."""
        headers = {"Accept": accept} | ({"Authorization": authorization} if authorization else {})
        response, body = self._client.get(url, headers)
        content_type = response.headers.get("Content-Type", "")
        return Answer(response.status_code, content_type, body.decode("utf-8", "replace"))


def bearer(token: str | None) -> str | None:
    """Return the Authorization header of a token, None without one."""
    return f"Bearer {token}" if token else None


def basic(user_and_password: str) -> str:
    """Return the Authorization header of USER:PASSWORD."""
    return f"Basic {base64.b64encode(user_and_password.encode()).decode()}"
