"""What every generator does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from rag.component import Component
from rag.types import NO_ANSWER, Answer, Citation, FrozenModel, Hit, Message, Sentence, Text


class TextDelta(FrozenModel):
    """A piece of the answer's text, as it comes."""

    text: Text


class CitationAdded(FrozenModel):
    """A citation of the text so far: it will stand at `number` in ``Answer.citations``."""

    number: int = Field(ge=0)
    citation: Citation


class SentenceVerified(FrozenModel):
    """What became of a sentence; it will stand at `number` in ``Answer.sentences``."""

    number: int = Field(ge=0)
    sentence: Sentence


class AnswerCompleted(FrozenModel):
    """The end of a stream: the whole answer, checked."""

    answer: Answer


Event = TextDelta | CitationAdded | SentenceVerified | AnswerCompleted


class Generator(Component):
    """A question and what was retrieved for it, to an answer with citations."""

    kind: ClassVar[str] = "generator"
    reads_history: ClassVar[bool] = False
    """Whether it understands a follow-up question by the conversation before it."""

    streams: ClassVar[bool] = True
    """Whether its text comes piece by piece; otherwise all of it comes at once."""

    @abstractmethod
    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        """Answer from `hits` alone, or abstain.

        Citations are exact spans of the hits' chunks. `history` is the conversation before the
        question, oldest first. Raises `ModelError` where a model fails.
        """

    def stream(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        """`answer` piece by piece; the last event is `AnswerCompleted`.

        The texts of a stream, put together, are the answer's text. Where the answer is abstained
        from at the end, what was streamed until then is taken back by `AnswerCompleted`.
        """
        answer = self.answer(question, hits, history)
        yield from replayed(answer)
        yield AnswerCompleted(answer=answer)


def last_answer(events: Iterator[Event]) -> Answer:
    """The answer at the end of a stream."""
    for event in events:
        if isinstance(event, AnswerCompleted):
            return event.answer
    raise AssertionError("a stream ends with Done")


def replayed(answer: Answer) -> Iterator[Event]:
    """The events of an answer that is there already, but the last."""
    at = 0
    told: set[int] = set()
    for number, sentence in enumerate(answer.sentences):
        yield TextDelta(text=answer.text[at : sentence.end])
        at = sentence.end
        for i in sentence.citations:
            if i not in told:
                told.add(i)
                yield CitationAdded(number=i, citation=answer.citations[i])
        yield SentenceVerified(number=number, sentence=sentence)
    if at < len(answer.text):
        yield TextDelta(text=answer.text[at:])


def abstention(reason: str, hits: Sequence[Hit], **fields: object) -> Answer:
    """Make the answer that says there is none, and why."""
    return Answer.model_validate(
        {"text": NO_ANSWER, "status": "abstained", "reason": reason, "hits": tuple(hits), **fields}
    )
