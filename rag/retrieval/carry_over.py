"""The condenser without a model: follow-up questions are completed by rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from rag.query import Query
from rag.retrieval.follow_ups import Turn, complete_follow_up
from rag.retrieval.transforms import QueryTransform
from rag.types import Message


class CarryOver(QueryTransform):
    """Completes follow-up questions without a model, from the question before.

    After "Who leads the Lyon site?", "And the Oslo site?" is understood as "Who leads the Oslo
    site?", and "no, I meant Berlin" as "Who leads the Berlin site?". A question that refers back
    ("What is its phone number?") is unchanged, and up to ``terms`` words of the question before
    become its `Query.carried_terms`: "Lyon", "site". "The second one" carries the second item of
    the last answer. The words are English, German, French, Spanish, Italian, Portuguese and Dutch.
    """

    name: ClassVar[str] = "carry-over"
    revision: ClassVar[int] = 2
    for_search_only: ClassVar[bool] = True

    terms: int = Field(6, ge=1, le=50)

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """See `QueryTransform.transform`."""
        replies = [*history[1:], Message(role="user", content="")]
        turns = [
            Turn(message.content, reply.content if reply.role == "assistant" else "")
            for message, reply in zip(history, replies, strict=False)
            if message.role == "user"
        ]
        return [complete_follow_up(question, turns, self.terms)]
