"""The client library, kept to what was configured and to a bounded answer."""

from collections.abc import AsyncIterator

import httpx2
import openai

BODY_LIMIT_BYTES = 16 * 1024 * 1024
_CONNECT_SECONDS = 5.0
# The library insists on a key, and takes one from OPENAI_API_KEY where it is given none.
_NO_KEY = "none"


class CallError(Exception):
    """Report a call that gave no usable answer, in words for the user.

    `retry` says whether the same call may succeed later, `retry_after` in how many seconds at the earliest.
    `format_rejected` marks an endpoint that does not know the response format.
    """

    def __init__(
        self,
        message: str,
        error_type: str,
        *,
        retry: bool = False,
        retry_after: float = 0.0,
        format_rejected: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.retry = retry
        self.retry_after = retry_after
        self.format_rejected = format_rejected


def new_client(base_url: str, api_key: str | None, timeout_seconds: float) -> openai.AsyncOpenAI:
    """Return a client that takes nothing from OPENAI_* variables, retries nothing and follows no redirect.

    Proxies and certificates still come from the usual variables. Its calls raise CallError where an answer is
    compressed or larger than BODY_LIMIT_BYTES.
    """
    return _ConfiguredClient(
        base_url=base_url,
        api_key=api_key or _NO_KEY,
        # An answer may take all the time there is; only connecting has a limit of its own.
        timeout=openai.Timeout(timeout_seconds, connect=_CONNECT_SECONDS),
        max_retries=0,
        # A redirect would carry the prompt to a host that nobody configured.
        http_client=openai.DefaultAsyncHttpxClient(
            follow_redirects=False, event_hooks={"response": [_bound_body]}
        ),
    )


class _ConfiguredClient(openai.AsyncOpenAI):
    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        # The library would add what OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS hold.
        return {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
        }


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > BODY_LIMIT_BYTES:
                raise CallError(
                    f"The language model's endpoint sent more than {BODY_LIMIT_BYTES // 1024**2} MiB",
                    "invalid_response",
                )
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_body(response: httpx2.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # Unpacked it could be of any size.
        raise CallError("The language model's endpoint sent a compressed answer", "invalid_response")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream)
