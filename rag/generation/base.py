"""What every generator does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rag.component import Component
from rag.types import Answer, Hit, Message, Noun, Text

NO_ANSWER = "I could not find an answer to that in the sources."
"""Text of every answer that is abstained from."""


class TextDelta(Noun):
    """A piece of the answer's text, as it comes."""

    text: Text


class Done(Noun):
    """The end of a stream: the whole answer, checked."""

    answer: Answer


Event = TextDelta | Done


class Generator(Component):
    """A question and what was retrieved for it, to an answer with citations."""

    kind: ClassVar[str] = "generator"

    @abstractmethod
    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        """Answer from `hits` alone, or abstain.

        Citations are exact spans of the hits' chunks. `history` is the conversation before the
        question, oldest first. Raises `ModelError` where a model fails.
        """

    def stream(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        """`answer` piece by piece; the last event is `Done`.

        What was streamed may hold markers of passages that do not exist; the answer does not.
        """
        answer = self.answer(question, hits, history)
        yield TextDelta(text=answer.text)
        yield Done(answer=answer)


def abstention(reason: str, hits: Sequence[Hit], **fields: object) -> Answer:
    """Make the answer that says there is none, and why."""
    return Answer.model_validate(
        {"text": NO_ANSWER, "status": "abstained", "reason": reason, "hits": tuple(hits), **fields}
    )
