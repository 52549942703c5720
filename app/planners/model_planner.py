"""The planner that asks a language model."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from openai.types.chat import ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema

from app.errors import PlannerError, UnknownModelError
from app.planners.model_answer import PLAN_FORMAT, RECOVERY_FORMAT, read_plan, read_recovery
from app.planners.model_client import CallError
from app.planners.model_endpoint import ModelCall, ModelEndpoint
from app.planners.model_prompts import plan_messages, recovery_messages
from app.planners.model_settings import ModelSettings
from app.planners.plan import Attempt, Failure, PlanRequest, Step

__all__ = ["ModelCall", "ModelPlanner", "ModelSettings"]

_BACKOFF_SECONDS = 0.5

T = TypeVar("T")
log = structlog.get_logger(__name__)


class ModelPlanner:
    """Plan and recover with a model behind any OpenAI-compatible endpoint.

    Safe for concurrent use by the tasks of one event loop.
    """

    def __init__(self, settings: ModelSettings, on_call: Callable[[ModelCall], None]) -> None:
        self._settings = settings
        self._endpoint = ModelEndpoint(settings, on_call)
        self._without_schema: set[str] = set()

    def check_model(self, model: str | None) -> None:
        """Raise UnknownModelError for a model that is not configured; None is the default."""
        models = self._settings.models
        if model is not None and model not in models:
            raise UnknownModelError(f"model {model!r} is not configured; available: {', '.join(models)}")

    async def plan(self, request: PlanRequest) -> Sequence[Step]:
        """Return the steps that the model plans; raises UnknownModelError or PlannerError."""
        return await self._ask(self._model(request), plan_messages(request), PLAN_FORMAT, read_plan)

    async def recover(
        self, request: PlanRequest, failure: Failure, earlier: Sequence[Attempt]
    ) -> Sequence[Step]:
        """Return the recovery steps that the model suggests; raises UnknownModelError or PlannerError.

        The rules that a recovery must keep are those of `read_recovery`; one that breaks them is asked for
        again like any answer that cannot be used.
        """

        def read(text: str) -> list[Step]:
            return read_recovery(text, failure.command, allow_changes=request.allow_changes)

        messages = recovery_messages(request, failure, earlier)
        return await self._ask(self._model(request), messages, RECOVERY_FORMAT, read)

    async def aclose(self) -> None:
        """Close the connections to the endpoint."""
        await self._endpoint.close()

    def _model(self, request: PlanRequest) -> str:
        self.check_model(request.model)
        return request.model or self._settings.models[0]

    async def _ask(
        self,
        model: str,
        messages: Sequence[ChatCompletionMessageParam],
        schema: ResponseFormatJSONSchema,
        read: Callable[[str], T],
    ) -> T:
        """Call until an answer can be used: the one place where calls are repeated."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout_seconds
        attempt = 1
        while True:
            with_schema = model not in self._without_schema
            try:
                return await self._endpoint.call(
                    model,
                    messages,
                    schema if with_schema else {"type": "json_object"},
                    read,
                    deadline=deadline,
                )
            except CallError as error:
                if error.format_rejected and with_schema:
                    # Remembered for the model and not an attempt, since it happens once.
                    self._without_schema.add(model)
                    continue
                pause = max(error.retry_after, _backoff(attempt))
                if not error.retry or attempt >= self._settings.attempts:
                    raise PlannerError(_after(attempt, error)) from None
                if loop.time() + pause >= deadline:
                    raise PlannerError(
                        f"{_after(attempt, error)}; another try would have to wait {pause:.0f} s, "
                        f"which is longer than is left of {self._settings.timeout_seconds:g} s"
                    ) from None
                log.warning(
                    "asking the language model again", model=model, attempt=attempt, reason=str(error)
                )
            await asyncio.sleep(pause)
            attempt += 1


def _after(attempt: int, error: CallError) -> str:
    return f"{error} (after {attempt} attempts)" if attempt > 1 else str(error)


def _backoff(attempt: int) -> float:
    """Return the seconds to wait after an attempt: doubled each time, the upper half at random."""
    return _BACKOFF_SECONDS * 2.0 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311 # no secret
