"""One call to a language model behind an OpenAI-compatible endpoint, and what can go wrong with it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import ResponseFormat
from pydantic import BaseModel, ValidationError

from app.planners.model_answer import AnswerError
from app.planners.model_client import CallError, new_client
from app.planners.model_settings import ModelSettings

_EXCERPT_CHARACTERS = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A finished HTTP call to a model.

    `duration` is in seconds. Token counts are None where the endpoint reported none. `error_type` is None for
    an answer that could be used; else an HTTP status, or one of `timeout`, `connection_error`, `cancelled`,
    `invalid_response`, `refusal`, `length`, `content_filter`.
    """

    operation: str
    model: str
    duration: float
    input_tokens: int | None
    output_tokens: int | None
    error_type: str | None


class ModelEndpoint:
    """Send chat completions and read their answers.

    Every call is reported to `on_call`, which must not raise.
    """

    def __init__(self, settings: ModelSettings, on_call: Callable[[ModelCall], None]) -> None:
        self._api_key = settings.api_key
        self._timeout_seconds = settings.timeout_seconds
        self._on_call = on_call
        self._client = new_client(settings.base_url, settings.api_key, settings.timeout_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def call(
        self,
        model: str,
        messages: Sequence[ChatCompletionMessageParam],
        response_format: ResponseFormat,
        read: Callable[[str], T],
        *,
        deadline: float,
    ) -> T:
        """Return what `read` makes of the model's answer.

        `deadline` is in the loop's time. Raises CallError, also where `read` raises AnswerError.
        """
        started = time.perf_counter()
        usage: Any = None
        error_type: str | None = "cancelled"
        try:
            body = await self._send(model, messages, response_format, deadline)
            completion = _parse(body)
            usage = completion.usage
            answer = read(_text(completion))
            error_type = None
        except AnswerError as error:
            error_type = "invalid_response"
            raise CallError(f"The language model's answer {error}", error_type, retry=True) from None
        except CallError as error:
            error_type = error.error_type
            raise
        finally:
            self._on_call(
                ModelCall(
                    operation="chat",
                    model=model,
                    duration=time.perf_counter() - started,
                    input_tokens=_count(usage, "prompt_tokens"),
                    output_tokens=_count(usage, "completion_tokens"),
                    error_type=error_type,
                )
            )
        return answer

    async def _send(
        self,
        model: str,
        messages: Sequence[ChatCompletionMessageParam],
        response_format: ResponseFormat,
        deadline: float,
    ) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                # Raw, because the library builds its objects without checking what it was sent.
                response = await self._client.chat.completions.with_raw_response.create(
                    model=model, messages=messages, response_format=response_format
                )
        except TimeoutError:
            raise CallError(
                f"The language model did not answer within {self._timeout_seconds:g} s", "timeout"
            ) from None
        except openai.APITimeoutError:
            raise CallError(
                "The language model's endpoint could not be reached in time: check AOSS_LLM_BASE_URL",
                "timeout",
                retry=True,
            ) from None
        except openai.APIConnectionError as error:
            why = self._excerpt(f"{type(error.__cause__).__name__}: {error.__cause__}")
            raise CallError(
                f"The connection with the language model's endpoint failed ({why}): check AOSS_LLM_BASE_URL",
                "connection_error",
                retry=True,
            ) from None
        except openai.APIStatusError as error:
            self._raise_for_status(error)
        return response.content

    def _raise_for_status(self, error: openai.APIStatusError) -> NoReturn:
        status = error.status_code
        said = self._excerpt(_said(error.body))
        what = f"The language model's endpoint answered HTTP {status}"
        match status:
            case 401 | 403:
                # What it said is left out: some endpoints repeat a part of the key.
                message = f"{what}: check AOSS_LLM_API_KEY"
            case 404:
                message = f"{what}: check AOSS_LLM_MODEL and AOSS_LLM_BASE_URL{said}"
            case _ if status < 400:
                message = f"{what}, a redirect: set AOSS_LLM_BASE_URL to the address it leads to"
            case 408 | 409 | 429:
                message = f"{what}{said}"
            case _ if status < 500:
                message = f"{what}: check AOSS_LLM_MODEL{said}"
            case _:
                message = f"{what}{said}"
        raise CallError(
            message,
            str(status),
            retry=status in (408, 409, 429) or status >= 500,
            retry_after=_retry_after(error.response.headers),
            format_rejected=status in (400, 422) and _blames_format(error.body),
        ) from None

    def _excerpt(self, text: str) -> str:
        """Return the start of foreign text on one line, never with the key in it."""
        line = " ".join(text.split())
        if self._api_key:
            line = line.replace(self._api_key, "[key]")
        return line if len(line) <= _EXCERPT_CHARACTERS else f"{line[:_EXCERPT_CHARACTERS]}…"


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: Any = None


def _parse(body: bytes) -> _Completion:
    try:
        return _Completion.model_validate_json(body)
    except ValidationError:
        raise CallError(
            "The language model's endpoint answered with something that is not a chat completion: "
            "check AOSS_LLM_BASE_URL",
            "invalid_response",
            retry=True,
        ) from None


def _text(completion: _Completion) -> str:
    if not completion.choices:
        raise CallError("The language model gave no answer", "invalid_response", retry=True)
    choice = completion.choices[0]
    if choice.message.refusal:
        said = " ".join(choice.message.refusal.split())[:_EXCERPT_CHARACTERS]
        raise CallError(f"The language model refused: {said}", "refusal")
    match choice.finish_reason:
        case "length":
            raise CallError("The language model's answer was cut off at its length limit", "length")
        case "content_filter":
            raise CallError(
                "The language model's endpoint withheld the answer: its content filter", "content_filter"
            )
    if not choice.message.content:
        raise CallError("The language model gave an empty answer", "invalid_response", retry=True)
    return choice.message.content


def _count(usage: Any, key: str) -> int | None:
    tokens = usage.get(key) if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and tokens >= 0 else None


def _said(body: object) -> str:
    """Return the endpoint's own message; the library has already unwrapped `error`."""
    message = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    return f". It said: {message}" if message else ""


def _blames_format(body: object) -> bool:
    words = str(body).lower()
    return any(phrase in words for phrase in ("response_format", "response format", "json_schema"))


def _retry_after(headers: httpx2.Headers) -> float:
    """Return the seconds that Retry-After asks for, 0 where it asks nothing (RFC 9110, section 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
