"""Which quote, which history and which passages are chosen, to the exact boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.generation import grounded
from rag.generation.context_packing import pack
from rag.generation.extraction import _has_words_in_order
from rag.generation.grounded import GroundedGenerator
from rag.generation.quotes import find_best_quote
from rag.llm import Completion
from rag.llm.base import ChatModel
from rag.types import Chunk, Hit, Message
from rag.verification import Verifier


class ScoreTable(Verifier):
    """Scores each passage text by a table."""

    name: ClassVar[str] = "table"
    scores_by_text: dict[str, float]
    threshold: float = 0.9

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.array([self.scores_by_text.get(text, 0.0) for _, text in pairs], dtype=np.float32)


def make_hit(text: str, name: str = "a") -> Hit:
    chunk = Chunk(id=name, uri=f"doc:{name}", start=0, end=len(text), text=text)
    return Hit(chunk=chunk, score=1.0)


def test_of_quotes_of_one_length_the_better_supported_is_chosen() -> None:
    weak, strong = "The kite flies for 31 minutes.", "The kite flies for 34 minutes."
    passages = pack([make_hit(weak, "a"), make_hit(strong, "b")], 500, len).passages
    verifier = ScoreTable(scores_by_text={weak: 0.6, strong: 0.61})
    quote = find_best_quote("The kite flies for 34 minutes.", passages, verifier)
    assert quote is not None and quote.text == strong


class Fixed(ChatModel):
    """A model that reads 100 tokens, counts characters, and replies with 20."""

    name: ClassVar[str] = "fixed"

    @property
    def context_tokens(self) -> int:
        return grounded._PROMPT_OVERHEAD_TOKENS + 100

    @property
    def reply_tokens(self) -> int:
        return 20

    def count_tokens(self, text: str) -> int:
        return len(text)

    def _complete(self, messages: Any, **_: Any) -> Completion:
        return Completion("Yes [1].")


@pytest.mark.parametrize(("characters", "kept_count"), [(20, 2), (21, 1), (40, 1), (41, 0)])
def test_history_takes_at_most_half_of_the_context(characters: int, kept_count: int) -> None:
    history = [Message(role="user", content="x" * characters)] * 2
    history_for_model = GroundedGenerator(model=Fixed())._prepare_history(history)
    assert len(history_for_model) == kept_count  # half of 100 - 20 tokens


def test_passages_get_what_history_question_and_reply_leave() -> None:
    generator = GroundedGenerator(model=Fixed())
    history = [Message(role="user", content="x" * 10)]
    hits = [make_hit("w" * 10)]
    packed = generator._pack_passages("q" * 10, hits, history, 3_000)
    assert packed.budget == 60 and packed.passages  # 100 - 20 - 10 - 10 tokens
    assert generator._pack_passages("q" * 10, hits, history, 50).budget == 50


@pytest.mark.parametrize(
    ("value", "text", "is_contained"),
    [
        (["34", "minutes"], "It lasts 34 minutes", True),
        (["it"], "It lasts 34 minutes", True),
        (["minutes", "34"], "It lasts 34 minutes", False),
        (["34", "minutes", "each"], "34 minutes", False),
    ],
)
def test_a_value_must_stand_in_the_text_in_its_order(
    value: list[str], text: str, is_contained: bool
) -> None:
    assert _has_words_in_order(value, text) is is_contained
