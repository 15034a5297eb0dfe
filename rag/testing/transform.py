"""The contract of query transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from rag.component import Component
from rag.query import Query
from rag.retrieval.transforms import QueryTransform
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.samples import BLANK_TEXTS, HOSTILE_TEXTS
from rag.types import NO_ANSWER, Message

MAX_QUESTION_CHARACTERS = 20_000  # the pipeline refuses longer questions


class TransformContract(PartContract[QueryTransform]):
    """Checks of `rag.retrieval.QueryTransform`: at least one query, with a weight, for any text.

    A part with a scripted chat model needs about 100 equal replies.
    """

    part_class: ClassVar[type[Component]] = QueryTransform

    def sample_histories(self) -> list[list[Message]]:
        """Return conversations that come before the question, also unusual ones."""
        question = Message(role="user", content="How long does the battery of the drone last?")
        answer = Message(role="assistant", content="A full battery lasts 34 minutes.")
        refusal = Message(role="assistant", content=NO_ANSWER)
        return [
            [],
            [question, answer],
            [question, refusal],
            [question],
            [answer],
            [question, question, answer, answer],
            [Message(role="system", content="Be brief."), question, answer],
            [Message(role="user", content=""), Message(role="assistant", content=" ")],
            [Message(role="user", content=text[:2_000]) for text in HOSTILE_TEXTS.values()],
        ]

    def sample_questions(self) -> list[str]:
        """Return the questions to transform; by default, hostile texts of many kinds."""
        texts = [text[:MAX_QUESTION_CHARACTERS] for text in HOSTILE_TEXTS.values()]
        return ["How long does the battery last?", "And how long does charging it take?", *texts]

    def test_question_has_a_query(self) -> None:
        """A question has at least one query that is not blank, with a positive weight."""
        for question in self.sample_questions():
            queries = self.make_part().transform(question, [])
            _check_queries(queries)
            assert any(query.text.strip() for query in queries), f"no query for {question[:80]!r}"

    def test_blank_question_has_a_query(self) -> None:
        """A blank question raises no error, and has at least one query."""
        for question in BLANK_TEXTS:
            _check_queries(self.make_part().transform(question, []))

    def test_any_history_is_accepted(self) -> None:
        """Conversations of any form raise no error, and are not changed."""
        for history in self.sample_histories():
            given = list(history)
            for question in ("And how long does charging it take?", "Why?", ""):
                _check_queries(self.make_part().transform(question, history))
            assert history == given, "the transform changed the history"

    def test_queries_are_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal queries."""
        transform, history = self.make_part(), self.sample_histories()[1]
        question = "And how long does charging it take?"
        expected = transform.transform(question, history)
        assert transform.transform(question, history) == expected, "the second call differs"
        for queries in call_from_threads(lambda: transform.transform(question, history)):
            assert queries == expected, "two threads at once give other queries"


def _check_queries(queries: Sequence[Query]) -> None:
    assert isinstance(queries, list) and queries, f"the result is {queries!r}, not a list"
    for query in queries:
        assert isinstance(query, Query), f"{query!r} is not a Query"
        assert isinstance(query.text, str), f"the text of a query is {query.text!r}"
        assert math.isfinite(query.weight) and query.weight > 0, f"the weight is {query.weight}"
