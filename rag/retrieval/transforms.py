"""Query transforms: rewriting, expansion and decomposition of questions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.component import Component
from rag.llm.base import ChatModel
from rag.llm.line_replies import parse_line, parse_lines
from rag.llm.prompting import ask, escape_prompt_markup
from rag.query import Query
from rag.types import Message

if TYPE_CHECKING:
    from rag.index import Index

MAX_QUERY_CHARACTERS = 2_000  # characters of a query that a model makes


class QueryTransform(Component):
    """Turns the question of a user into search queries."""

    kind: ClassVar[str] = "transform"
    for_search_only: ClassVar[bool] = False
    """Whether what it makes of a question is to be searched by, but not to be read by a model."""

    @abstractmethod
    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """Return at least one query for `question`. Raises `ModelError`."""

    def transform_for_index(
        self, question: str, history: Sequence[Message], index: Index
    ) -> list[Query]:
        """Return what `transform` does; a transform that depends on the index overrides this."""
        return self.transform(question, history)


class _ModelTransform(QueryTransform):
    """A transform that asks the chat model ``model``."""

    main_setting: ClassVar[str] = "model"

    model: ChatModel

    def _ask_for_lines(self, prompt: str, **inputs: object) -> list[str]:
        lines = parse_lines(ask(self.model, prompt, **inputs))
        return [line[:MAX_QUERY_CHARACTERS] for line in lines]

    def _ask_for_line(self, prompt: str, **inputs: object) -> str:
        return parse_line(ask(self.model, prompt, **inputs))[:MAX_QUERY_CHARACTERS]


class Rewrite(_ModelTransform):
    """Rewrites a follow-up as a standalone question with a chat model.

    "And how long does that take?" is searched with the thing that "that" refers to. For the first
    question of a conversation, no model is called.
    """

    name: ClassVar[str] = "rewrite"

    turns: int = Field(6, ge=1, le=100)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        if not history:
            return [Query(question)]
        turns = [
            Message(role=turn.role, content=escape_prompt_markup(turn.content))
            for turn in history[-self.turns :]
        ]
        return [Query(self._ask_for_line("rewrite", question=question, history=turns) or question)]


class MultiQuery(_ModelTransform):
    """Adds ``count`` other formulations of the question."""

    name: ClassVar[str] = "multi-query"

    count: int = Field(3, ge=1, le=10)
    weight: float = Field(0.5, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        lines = self._ask_for_lines("multi-query", question=question, count=self.count)
        return [Query(question), *(Query(line, weight=self.weight) for line in lines[: self.count])]


class HyDE(_ModelTransform):
    """Adds a hypothetical passage that answers the question (Gao et al., 2022).

    The passage need not be true: it is used for search and never quoted. The question is prepended
    to it, so its words count as well (Wang et al., 2023).
    """

    name: ClassVar[str] = "hyde"

    weight: float = Field(0.5, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        passage = ask(self.model, "hyde", question=question)[:MAX_QUERY_CHARACTERS]
        if not passage:
            return [Query(question)]
        return [Query(question), Query(f"{question}\n{passage}", weight=self.weight)]


class StepBack(_ModelTransform):
    """Adds a more general question (Zheng et al., 2023)."""

    name: ClassVar[str] = "step-back"

    weight: float = Field(0.5, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        line = self._ask_for_line("step-back", question=question)
        return [Query(question), *([Query(line, weight=self.weight)] if line else [])]


class Decompose(_ModelTransform):
    """Adds up to ``count`` simpler questions that the question consists of."""

    name: ClassVar[str] = "decompose"

    count: int = Field(4, ge=2, le=10)
    weight: float = Field(1.0, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        lines = self._ask_for_lines("decompose", question=question, count=self.count)
        return [Query(question), *(Query(line, weight=self.weight) for line in lines[: self.count])]
