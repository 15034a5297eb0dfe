"""Questions to better questions; those by a chat model read their prompts in ``prompts``."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from pydantic import Field

from rag.component import Component
from rag.llm.base import ChatModel
from rag.llm.prompting import ask, escape_prompt_markup
from rag.text.tokenization import STOP_WORDS, stems, words
from rag.types import NO_ANSWER, Message

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
    for_search_only: ClassVar[bool] = False
    """Whether what it makes of a question is to be searched by, but not to be read by a model."""

    @abstractmethod
    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """Queries in place of `question`, at least one. Raises `ModelError`."""


# Words that point back to what was said before.
_POINTING = frozenset(
    """it its itself they them their theirs he him his she her hers this that these those same
    such former latter instead""".split()
)
_OPENING = re.compile(r"\W*(?:and|or|but|so|what about|how about|what if|why not)\b", re.IGNORECASE)
_HELPING = frozenset({"do", "does", "did"})  # these leave the verb to the end of a question
_FEW = 2  # words of content below which a question does not stand by itself
_ASKING = frozenset("what which who whom whose when where why how".split())


class CarryOver(QueryTransform):
    """Follow-up questions without a model: what the question before was about is put behind them.

    A question is a follow-up where it points back ("it", "those", "what about ..."), or hardly has
    words of its own. It gets up to ``terms`` words of the last question that stood by itself:
    after "How long does the battery last?", "And how long does charging it take?" becomes "And how
    long does charging it take? (battery)". Names stay behind where the question has one of its own,
    and so do questions that were not answered. What points back is known for English; in other
    languages only short questions are taken for follow-ups. The first question of a conversation
    stays as it is.
    """

    name: ClassVar[str] = "carry-over"
    for_search_only: ClassVar[bool] = True

    terms: int = Field(6, ge=1, le=50)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        if not history or not _points_back(question):
            return [Query(question)]
        own = set(stems(question))
        has_name = any(_is_name(word) for word in _subjects(question)[1:])
        said = [*(message.content for message in history[1:]), ""]
        for message, reply in reversed(list(zip(history, said, strict=True))):
            unfit = message.role != "user" or reply == NO_ANSWER or _points_back(message.content)
            if unfit:
                continue
            terms = [
                word
                for word in dict.fromkeys(_subjects(message.content))
                if not own & set(stems(word)) and not (has_name and _is_name(word))
            ]
            if terms:
                return [Query(f"{question} ({' '.join(terms[: self.terms])})")]
        return [Query(question)]


_MEASURE = re.compile(r"\bhow \w+", re.IGNORECASE)  # long, often, many: not what it is about
_WORD = re.compile(r"[^\W_][\w'’.-]*[^\W_]|[^\W_]")


def _is_name(word: str) -> bool:
    return word[0].isupper() or word[0].isdigit()


def _subjects(question: str) -> list[str]:
    """The words that a question is about: not its verb, where that can be told."""
    question = _MEASURE.sub("", question)
    found = [w for w in _WORD.findall(question) if w.lower() not in STOP_WORDS | _ASKING]
    asks_by_verb = _HELPING.intersection(words(question))
    if len(found) > 1 and asks_by_verb and question.rstrip(" ?.!").endswith(found[-1]):
        return found[:-1]
    return found


def _points_back(question: str) -> bool:
    found = words(question)
    if any(word in _POINTING for word in found) or _OPENING.match(question):
        return True
    return len([word for word in found if word not in STOP_WORDS | _ASKING]) < _FEW


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
        turns = [
            Message(role=turn.role, content=escape_prompt_markup(turn.content))
            for turn in history[-self.turns :]
        ]
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
