"""Query transforms: rewriting, expansion and decomposition of questions."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.component import Component
from rag.llm.base import ChatModel
from rag.llm.prompting import ask, escape_prompt_markup
from rag.query import Query
from rag.text.tokenization import STOP_WORDS, stems, words
from rag.types import NO_ANSWER, Message

if TYPE_CHECKING:
    from rag.index import Index

_BULLET = re.compile(r"(?:[-*•]|\d{1,3}[.)])\s+")
_QUOTED = re.compile(r"[\"'“]([^\"'“”]+)[\"'”]")
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


# Words that point back to what was said before.
REFERRING_WORDS = frozenset(
    """it its itself they them their theirs he him his she her hers this that these those same
    such former latter instead""".split()
)
FOLLOW_UP_OPENING = re.compile(
    r"\W*(?:and|or|but|so|what about|how about|what if|why not)\b", re.IGNORECASE
)
AUXILIARY_VERBS = frozenset({"do", "does", "did"})  # these leave the verb to the end of a question
MIN_CONTENT_WORDS = 2  # words of content below which a question does not stand by itself
QUESTION_WORDS = frozenset("what which who whom whose when where why how".split())


class CarryOver(QueryTransform):
    """Completes follow-up questions without a model: it takes over words of an earlier question.

    A question is a follow-up if it refers back ("it", "those", "what about ...") or has almost no
    content words. Up to ``terms`` words of the last standalone question become its
    `Query.carried_terms`: after "How long does the battery last?", "And how long does charging it
    take?" carries "battery". Names are not carried if the question has a name of its own.
    Questions without an answer are skipped. References are recognized in English; in other
    languages, only short questions count as follow-ups. The first question of a conversation is not
    changed.
    """

    name: ClassVar[str] = "carry-over"
    for_search_only: ClassVar[bool] = True

    terms: int = Field(6, ge=1, le=50)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        if not history or not _is_follow_up(question):
            return [Query(question)]
        question_stems = set(stems(question))
        has_name = any(_is_name(word) for word in _find_subject_words(question)[1:])
        replies = [*(message.content for message in history[1:]), ""]
        for message, reply in reversed(list(zip(history, replies, strict=True))):
            is_unusable = (
                message.role != "user" or reply == NO_ANSWER or _is_follow_up(message.content)
            )
            if is_unusable:
                continue
            terms = [
                word
                for word in dict.fromkeys(_find_subject_words(message.content))
                if not question_stems & set(stems(word)) and not (has_name and _is_name(word))
            ]
            if terms:
                return [Query(question, carried_terms=tuple(terms[: self.terms]))]
        return [Query(question)]


MEASURE_PHRASE = re.compile(r"\bhow \w+", re.IGNORECASE)  # long, often, many: not what it is about
_WORD = re.compile(r"[^\W_][\w'’.-]*[^\W_]|[^\W_]")


def _is_name(word: str) -> bool:
    return word[0].isupper() or word[0].isdigit()


def _find_subject_words(question: str) -> list[str]:
    """Return the words that a question is about, without its verb if that can be recognized."""
    question = MEASURE_PHRASE.sub("", question)
    content_words = [
        w for w in _WORD.findall(question) if w.lower() not in STOP_WORDS | QUESTION_WORDS
    ]
    has_auxiliary_verb = AUXILIARY_VERBS.intersection(words(question))
    if (
        len(content_words) > 1
        and has_auxiliary_verb
        and question.rstrip(" ?.!").endswith(content_words[-1])
    ):
        return content_words[:-1]
    return content_words


def _is_follow_up(question: str) -> bool:
    question_words = words(question)
    if any(word in REFERRING_WORDS for word in question_words) or FOLLOW_UP_OPENING.match(question):
        return True
    return (
        len([word for word in question_words if word not in STOP_WORDS | QUESTION_WORDS])
        < MIN_CONTENT_WORDS
    )


class _ModelTransform(QueryTransform):
    """A transform that asks the chat model ``model``."""

    main_setting: ClassVar[str] = "model"

    model: ChatModel

    def _ask_for_lines(self, prompt: str, **inputs: object) -> list[str]:
        reply_lines = ask(self.model, prompt, **inputs).splitlines()
        return [item for line in reply_lines if (item := _clean_list_item(line))]


def _clean_list_item(line: str) -> str:
    """Remove the list marker of a line, and quotes around the whole line."""
    text = _BULLET.sub("", line.strip(), count=1) if _BULLET.match(line.strip()) else line.strip()
    quoted_match = _QUOTED.fullmatch(text)
    return (quoted_match.group(1) if quoted_match else text).strip()[:MAX_QUERY_CHARACTERS]


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
        lines = self._ask_for_lines("rewrite", question=question, history=turns)
        return [Query(lines[0] if lines else question)]


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
        lines = self._ask_for_lines("step-back", question=question)
        return [Query(question), *(Query(line, weight=self.weight) for line in lines[:1])]


class Decompose(_ModelTransform):
    """Adds up to ``count`` simpler questions that the question consists of."""

    name: ClassVar[str] = "decompose"

    count: int = Field(4, ge=2, le=10)
    weight: float = Field(1.0, gt=0, le=1)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        lines = self._ask_for_lines("decompose", question=question, count=self.count)
        return [Query(question), *(Query(line, weight=self.weight) for line in lines[: self.count])]
