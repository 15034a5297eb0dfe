"""The base class of generators, and the events of a streamed answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from rag.component import Component
from rag.query import Query
from rag.types import NO_ANSWER, Answer, Citation, FrozenModel, Hit, Message, Sentence, Text


class TextDelta(FrozenModel):
    """A piece of the answer's text, in a stream."""

    text: Text


class CitationAdded(FrozenModel):
    """A new citation; `number` is its index in ``Answer.citations``."""

    number: int = Field(ge=0)
    citation: Citation


class SentenceVerified(FrozenModel):
    """A checked sentence; `number` is its index in ``Answer.sentences``."""

    number: int = Field(ge=0)
    sentence: Sentence


class AnswerCompleted(FrozenModel):
    """The last event of a stream: the complete, checked answer.

    ``turn`` is its number in the conversation in which it was stored; None outside of one.
    """

    answer: Answer
    turn: int | None = None


Event = TextDelta | CitationAdded | SentenceVerified | AnswerCompleted


class Generator(Component):
    """Turns a question and its retrieved hits into an answer with citations."""

    kind: ClassVar[str] = "generator"
    reads_history: ClassVar[bool] = False
    """Whether it understands a follow-up question from the conversation."""

    streams: ClassVar[bool] = True
    """Whether its text is streamed in pieces; otherwise all of it comes at once."""

    @abstractmethod
    def answer(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Answer:
        """Answer from `hits` only, or abstain. ``str(question)`` is the text of the question.

        Citations are exact spans of the hits' chunks. `history` is the conversation before the
        question, oldest message first. Raises `ModelError` if a model fails.
        """

    def stream(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        """Stream the answer; the last event is `AnswerCompleted`.

        The texts of the events, concatenated, are the answer's text. If the answer has a
        ``reason`` (an abstention, or quotes in place of a draft), `AnswerCompleted` withdraws the
        text that was streamed before.
        """
        answer = self.answer(question, hits, history)
        yield from replay_events(answer)
        yield AnswerCompleted(answer=answer)


def last_answer(events: Iterator[Event]) -> Answer:
    """Return the answer at the end of a stream."""
    for event in events:
        if isinstance(event, AnswerCompleted):
            return event.answer
    raise AssertionError("the stream ended without AnswerCompleted")


def replay_events(answer: Answer) -> Iterator[Event]:
    """Return the events of a complete answer, except `AnswerCompleted`."""
    text_end = 0
    cited_numbers: set[int] = set()
    for number, sentence in enumerate(answer.sentences):
        yield TextDelta(text=answer.text[text_end : sentence.end])
        text_end = sentence.end
        for citation_number in sentence.citations:
            if citation_number not in cited_numbers:
                cited_numbers.add(citation_number)
                yield CitationAdded(
                    number=citation_number, citation=answer.citations[citation_number]
                )
        yield SentenceVerified(number=number, sentence=sentence)
    if text_end < len(answer.text):
        yield TextDelta(text=answer.text[text_end:])


def abstention(reason: str, hits: Sequence[Hit], **fields: object) -> Answer:
    """Build the answer of a generator that abstains; `reason` says why."""
    return Answer.model_validate(
        {"text": NO_ANSWER, "status": "abstained", "reason": reason, "hits": tuple(hits), **fields}
    )
