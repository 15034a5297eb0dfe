"""Questions to better questions, by a chat model; each reads its prompt in ``prompts``."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from pydantic import Field

from rag.component import Component
from rag.llm.base import ChatModel
from rag.llm.prompting import ask
from rag.types import Message

_BULLET = re.compile(r"(?:[-*•]|\d{1,3}[.)])\s+")
_QUOTED = re.compile(r"[\"'“]([^\"'“”]+)[\"'”]")
_LONGEST = 2_000  # characters of a query that a model makes


class Query(NamedTuple):
    """Something to retrieve by, and what its hits count beside those of others."""

    text: str
    weight: float = 1.0


class QueryTransform(Component):
    """What a person asks, in a conversation, to what is retrieved by."""

    kind: ClassVar[str] = "transform"

    @abstractmethod
    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """Queries in place of `question`, at least one. Raises `ModelError`."""


class _Asking(QueryTransform):
    """A transform that asks a chat model; ``model`` is the model."""

    model: ChatModel

    def _lines(self, prompt: str, **inputs: object) -> list[str]:
        said = ask(self.model, prompt, **inputs).splitlines()
        return [item for line in said if (item := _item(line))]


def _item(line: str) -> str:
    """A line without what makes it an item of a list, and without quotes around all of it."""
    text = _BULLET.sub("", line.strip(), count=1) if _BULLET.match(line.strip()) else line.strip()
    whole = _QUOTED.fullmatch(text)
    return (whole.group(1) if whole else text).strip()[:_LONGEST]


class Rewrite(_Asking):
    """A question of a conversation, rewritten so that it stands by itself.

    "And how long does that take?" is looked for with what "that" is. The first question of a
    conversation stays as it is, and no model is asked.
    """

    name: ClassVar[str] = "rewrite"

    turns: int = Field(6, ge=1, le=100)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        if not history:
            return [Query(question)]
        turns = list(history)[-self.turns :]
        lines = self._lines("rewrite", question=question, history=turns)
        return [Query(lines[0] if lines else question)]


class MultiQuery(_Asking):
    """The question, and ``count`` other ways to ask it."""

    name: ClassVar[str] = "multi-query"

    count: int = Field(3, ge=1, le=10)
    weight: float = Field(0.5, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        lines = self._lines("multi-query", question=question, count=self.count)
        return [Query(question), *(Query(line, self.weight) for line in lines[: self.count])]


class HyDE(_Asking):
    """The question, and a passage as it might stand in the documents (Gao et al., 2022).

    What the passage says need not be true: it is looked for, never quoted. The question stands in
    front of it, so that its own words count as well (Wang et al., 2023).
    """

    name: ClassVar[str] = "hyde"

    weight: float = Field(0.5, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        passage = ask(self.model, "hyde", question=question)[:_LONGEST]
        if not passage:
            return [Query(question)]
        return [Query(question), Query(f"{question}\n{passage}", self.weight)]


class StepBack(_Asking):
    """The question, and a more general one behind it (Zheng et al., 2023)."""

    name: ClassVar[str] = "step-back"

    weight: float = Field(0.5, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        lines = self._lines("step-back", question=question)
        return [Query(question), *(Query(line, self.weight) for line in lines[:1])]


class Decompose(_Asking):
    """The question, and up to ``count`` simpler ones that it is made of."""

    name: ClassVar[str] = "decompose"

    count: int = Field(4, ge=2, le=10)
    weight: float = Field(1.0, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        lines = self._lines("decompose", question=question, count=self.count)
        return [Query(question), *(Query(line, self.weight) for line in lines[: self.count])]
