"""The embedded planner: built-in runbooks for plans, built-in remedies for recoveries.

A runbook file holds the runbooks of the persona that it is named after:

    runbooks:
      - id: disk-space             # unique over all files
        title: Disk space and what fills it
        words: [disk, space]       # one point for each that the request holds
        phrases: [disk full]       # two points more for each that the request holds word after word
        steps:
          - description: Space on the local file systems
            command: df -h
            changes: true          # only where the command alters the server
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.errors import NoRunbookError
from app.planners import healing
from app.planners.plan import Attempt, Failure, PlanRequest, Step
from app.planners.request_words import orders_to_change, stems
from telemetry.labels import AgentType

RUNBOOKS = Path(__file__).parent / "runbooks"
WORD_POINTS = 1
PHRASE_POINTS = 2
MINIMUM_SHARE = 0.5
MINIMUM_POINTS = 3
MINIMUM_SHARE_WITH_POINTS = 0.25
MAX_STEPS = 100
NEAREST = 3
LIKENESS_WORDS = LIKENESS_LETTERS = 30  # comparing letter by letter is slow


class RunbookFileError(Exception):
    """Report a runbook file that cannot be used: which file, which runbook, which key."""


@dataclass(frozen=True, slots=True)
class Runbook:
    """A named plan of one persona, with the stemmed words and phrases that select it."""

    id: str
    title: str
    agent_type: AgentType
    words: frozenset[str]
    phrases: tuple[tuple[str, ...], ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """How well a runbook answers a request: points, and the share of the request's words that it knows."""

    runbook: Runbook
    points: int
    share: float
    orders_known: bool

    @property
    def answers(self) -> bool:
        """Say whether the runbook is close enough to the request to be run."""
        wanted = MINIMUM_SHARE if self.points < MINIMUM_POINTS else MINIMUM_SHARE_WITH_POINTS
        return self.orders_known and self.points > 0 and self.share >= wanted


def load_runbooks(folder: Path = RUNBOOKS) -> tuple[Runbook, ...]:
    """Return the runbooks of every persona, in the order of the files. Raises RunbookFileError."""
    runbooks: list[Runbook] = []
    for agent_type in AgentType:
        path = folder / f"{agent_type}.yaml"
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RunbookFileError(f"{path.name} cannot be read: {error}") from error
        _only_keys(content, {"runbooks"}, path.name)
        for entry in _list(content, "runbooks", path.name):
            runbook = _runbook(entry, agent_type, path.name)
            if any(runbook.id == other.id for other in runbooks):
                raise RunbookFileError(f"{path.name}: runbook {runbook.id!r}: the id is taken")
            runbooks.append(runbook)
    return tuple(runbooks)


def _runbook(entry: object, agent_type: AgentType, where: str) -> Runbook:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise RunbookFileError(f"{where}: a runbook without an id: {entry!r:.80}")
    where = f"{where}: runbook {entry['id']!r}"
    _only_keys(entry, {"id", "title", "words", "phrases", "steps"}, where)
    words = _list(entry, "words", where)
    phrases = _list(entry, "phrases", where) if "phrases" in entry else []
    for key, texts in (("words", words), ("phrases", phrases)):
        least = 1 if key == "words" else 2
        if not all(isinstance(text, str) and len(stems(text)) >= least for text in texts):
            raise RunbookFileError(f"{where}: {key} must be texts of {least} word(s) or more that count")
    steps = _list(entry, "steps", where)
    if len(steps) > MAX_STEPS:
        raise RunbookFileError(f"{where}: steps: at most {MAX_STEPS}")
    return Runbook(
        id=entry["id"],
        title=_text(entry, "title", where),
        agent_type=agent_type,
        words=frozenset(each for word in words for each in stems(word)),
        phrases=tuple(stems(phrase) for phrase in phrases),
        steps=tuple(_step(step, f"{where}: step {number}") for number, step in enumerate(steps, start=1)),
    )


def _step(entry: object, where: str) -> Step:
    content = _only_keys(entry, {"command", "description", "changes"}, where)
    changes = content.get("changes", False)
    if not isinstance(changes, bool):
        raise RunbookFileError(f"{where}: changes must be true or false")
    return Step(
        command=_text(content, "command", where).strip(),
        description=_text(content, "description", where) + (" (changes the server)" if changes else ""),
        changes=changes,
    )


def _only_keys(content: object, allowed: set[str], where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise RunbookFileError(f"{where}: expected keys {', '.join(sorted(allowed))}")
    if unknown := sorted(str(key) for key in content if key not in allowed):
        raise RunbookFileError(f"{where}: unknown key {unknown[0]!r}")
    return content


def _text(content: dict[str, Any], key: str, where: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise RunbookFileError(f"{where}: {key} must be a text")
    return value


def _list(content: dict[str, Any], key: str, where: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list) or not value:
        raise RunbookFileError(f"{where}: {key} must be a list with at least one entry")
    return value


def match(query: str, runbook: Runbook) -> Match:
    """Return how well a runbook answers a request.

    Words count once each, whatever their number. A request that orders a change is answered only by a runbook
    that makes changes and names this one: to look where something was to be restarted would be wrong.
    """
    asked = stems(query)
    orders = orders_to_change(query)
    distinct = set(asked)
    found = distinct & runbook.words
    points = WORD_POINTS * len(found)
    for phrase in runbook.phrases:
        if any(asked[i : i + len(phrase)] == phrase for i in range(len(asked))):
            points += PHRASE_POINTS
            found = found | set(phrase)
    return Match(
        runbook=runbook,
        points=points,
        share=len(found) / len(distinct) if distinct else 0.0,
        orders_known=orders
        <= (runbook.words if any(step.changes for step in runbook.steps) else frozenset()),
    )


class RunbookPlanner:
    """Plan from built-in runbooks, recover by built-in remedies; needs no network and holds no state."""

    def __init__(self, runbooks: Sequence[Runbook] | None = None) -> None:
        self.runbooks = tuple(runbooks) if runbooks is not None else load_runbooks()

    def check_model(self, model: str | None) -> None:
        """Accept any model: this planner uses none."""

    async def aclose(self) -> None:
        """Hold nothing that would have to be given back."""

    async def plan(self, request: PlanRequest) -> Sequence[Step]:
        """Return the steps of the runbook that answers the request. Raises NoRunbookError."""
        return self.choose(request.query, request.agent_type).steps

    async def recover(
        self, request: PlanRequest, failure: Failure, earlier: Sequence[Attempt]
    ) -> Sequence[Step]:
        """Return the next remedy for a failure, none if no further one is known."""
        return healing.recover(request, failure, earlier)

    def choose(self, query: str, agent_type: AgentType) -> Runbook:
        """Return the persona's runbook that answers best; the first in the file wins a tie.

        Raises NoRunbookError.
        """
        ranked = _ranked(query, (each for each in self.runbooks if each.agent_type is agent_type))
        answering = [each for each in ranked if each.answers]
        if answering:
            return answering[0].runbook
        others = _ranked(query, (each for each in self.runbooks if each.agent_type is not agent_type))
        raise _no_runbook(agent_type, ranked, [each for each in others if each.answers])


def _ranked(query: str, runbooks: Iterable[Runbook]) -> list[Match]:
    # sorted() is stable, so that equals keep the order of the file.
    return sorted(
        (match(query, runbook) for runbook in runbooks),
        key=lambda each: (each.points, each.share, _likeness(query, each.runbook)),
        reverse=True,
    )


def _likeness(query: str, runbook: Runbook) -> int:
    """Return how many words of the request are nearly words of the runbook, as misspelt ones are."""
    return sum(
        1
        for word in set(stems(query)[:LIKENESS_WORDS])
        if difflib.get_close_matches(word[:LIKENESS_LETTERS], runbook.words, n=1, cutoff=0.8)
    )


def _no_runbook(agent_type: AgentType, ranked: list[Match], elsewhere: list[Match]) -> NoRunbookError:
    nearest = [each.runbook for each in ranked[:NEAREST]]
    named = ", ".join(f"{each.id} ({each.title})" for each in nearest)
    message = f"No runbook of the {agent_type} persona answers this request. The nearest: {named}."
    if elsewhere:
        other = elsewhere[0].runbook
        message += f" The {other.agent_type} persona has one that does: {other.id} ({other.title})."
        nearest.append(other)
    message += (
        " To have any request planned, configure a language model: set AOSS_LLM_BASE_URL, AOSS_LLM_MODEL"
        " and AOSS_LLM_API_KEY."
    )
    return NoRunbookError(message, tuple(each.id for each in nearest))
