"""What a language model must answer: the schema it is sent, and the check of what came back."""

import re
from typing import Annotated, TypeVar

from openai.types.shared_params import ResponseFormatJSONSchema
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from app.planners.plan import Step

COMMAND_LIMIT_BYTES = 64 * 1024
DESCRIPTION_LIMIT_CHARACTERS = 2_000
MAX_PLAN_STEPS = 100
MAX_RECOVERY_STEPS = 20
_REASON_CHARACTERS = 200
_WAITS = re.compile(r"\bsleep\b")

A = TypeVar("A", "_Plan", "_Recovery")


class AnswerError(Exception):
    """Say what is wrong with an answer, as the predicate of a sentence."""


def _command(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if len(value.encode()) > COMMAND_LIMIT_BYTES:
        raise ValueError(f"is longer than {COMMAND_LIMIT_BYTES // 1024} KiB")
    return _storable(value)


def _description(value: str) -> str:
    if len(value) > DESCRIPTION_LIMIT_CHARACTERS:
        raise ValueError(f"is longer than {DESCRIPTION_LIMIT_CHARACTERS} characters")
    return _storable(value)


def _storable(value: str) -> str:
    # Lone surrogates, which no database takes either, have been refused as invalid JSON.
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


# The limits are checked by functions and so stay out of the schema: strict modes refuse its length keywords.
class _PlanStep(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    command: Annotated[str, AfterValidator(_command)]
    description: Annotated[str, AfterValidator(_description)]
    changes: bool


class _RecoveryStep(_PlanStep):
    replaces: bool


class _Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    steps: list[_PlanStep]


class _Recovery(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    steps: list[_RecoveryStep]


def _schema(name: str, step: type[BaseModel]) -> ResponseFormatJSONSchema:
    # Written out instead of referred to, because some servers do not follow references.
    return {
        "type": "json_schema",
        "json_schema": {
            "name": name,
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"steps": {"type": "array", "items": step.model_json_schema()}},
                "required": ["steps"],
                "additionalProperties": False,
            },
        },
    }


PLAN_FORMAT = _schema("plan", _PlanStep)
RECOVERY_FORMAT = _schema("recovery", _RecoveryStep)


def read_plan(text: str) -> list[Step]:
    """Return the steps of a plan; raises AnswerError."""
    steps = _validated(_Plan, text).steps
    if not 1 <= len(steps) <= MAX_PLAN_STEPS:
        raise AnswerError(f"does not fit: it has {len(steps)} steps, not 1 to {MAX_PLAN_STEPS}")
    return [Step(step.command, step.description, step.changes) for step in steps]


def read_recovery(text: str, failed_command: str, *, allow_changes: bool) -> list[Step]:
    """Return the steps of a recovery, none where the model knows no remedy; raises AnswerError.

    A recovery is refused as a whole, because the rest of it may make no sense, where a step is marked as a
    change on a server that allows none, or where the failed command would run again with nothing changed,
    replaced or waited for (`sleep`) before it.
    """
    answers = _validated(_Recovery, text).steps
    if len(answers) > MAX_RECOVERY_STEPS:
        raise AnswerError(f"does not fit: it has {len(answers)} steps, not at most {MAX_RECOVERY_STEPS}")
    steps = [Step(step.command, step.description, step.changes, step.replaces) for step in answers]
    if not allow_changes:
        for number, step in enumerate(steps, start=1):
            if step.changes:
                raise AnswerError(
                    f"cannot be used: step {number} would change a server registered without allowChanges"
                )
    _refuse_bare_repetition(steps, failed_command)
    return steps


def _refuse_bare_repetition(steps: list[Step], failed_command: str) -> None:
    for step in steps:
        if step.command.split() == failed_command.split():
            break
        if step.changes or _WAITS.search(step.command):
            return
    else:
        # The failed command itself comes after these steps, unless one of them replaces it.
        if not steps or any(step.replaces for step in steps):
            return
    raise AnswerError("cannot be used: it repeats the failed command with nothing changed before it")


def _validated(shape: type[A], text: str) -> A:
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = first["msg"].removeprefix("Value error, ")[:_REASON_CHARACTERS]
        if first["type"] == "json_invalid":
            raise AnswerError(f"is not JSON: {reason}") from None
        place = ".".join(str(part) for part in first["loc"])[:_REASON_CHARACTERS] or "the whole"
        raise AnswerError(f"does not fit: {place}: {reason}") from None
