"""Reranking with a chat model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rag.component import NotFingerprinted
from rag.concurrency import map_concurrently
from rag.errors import ModelReplyError
from rag.llm.base import ChatModel
from rag.llm.prompting import ask, escape_prompt_markup
from rag.postprocessing.base import Reranker

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_OF_TEN = re.compile(r"(?<![\d.])(\d++(?:\.\d++)?)\s*+(?:/|of|out of)\s*+10\b")
_ORDER = re.compile(r"\d+(?:[\s>,\[\]]+\d+)*")


class LlmReranker(Reranker):
    """A chat model that orders the chunks.

    ``listwise`` shows the model ``window`` chunks at a time and asks for their order. It starts
    with the last chunks, and windows overlap by half, so the best chunks move to the front (Sun et
    al., 2023). ``pointwise`` asks for a score from 0 to 10 for each chunk, with ``concurrency``
    parallel calls. The prompts are ``rerank-listwise`` and ``rerank-pointwise``. Chunks that the
    model omits come after those that it names, in their old order. A reply without a number raises
    `ModelReplyError`.
    """

    name: ClassVar[str] = "llm"
    main_setting: ClassVar[str] = "model"

    model: ChatModel
    mode: Literal["listwise", "pointwise"] = "listwise"
    depth: int = Field(20, ge=1, le=1_000)
    window: int = Field(10, ge=2, le=100)
    characters: int = Field(1_500, ge=50)
    concurrency: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Return scores from 0 to 10 (pointwise), or 1, 1/2, 1/3 ... in the order of the model."""
        passages = [escape_prompt_markup(text[: self.characters]) for text in texts]
        if not passages:
            return []
        if self.mode == "pointwise":
            return map_concurrently(
                lambda text: self._score_passage(query, text), passages, self.concurrency
            )
        order = list(range(len(passages)))
        end = len(order)
        while True:
            start = max(0, end - self.window)
            window = order[start:end]
            ranks = self._order_passages(query, [passages[i] for i in window])
            order[start:end] = [window[rank] for rank in ranks]
            if start == 0:
                break
            end -= self.window // 2
        ranks_by_index = {i: rank for rank, i in enumerate(order, start=1)}
        return [1 / ranks_by_index[i] for i in range(len(passages))]

    def _score_passage(self, query: str, text: str) -> float:
        reply = ask(self.model, "rerank-pointwise", question=query, passage=text)
        numbers = _OF_TEN.findall(reply) or _NUMBER.findall(reply)
        if not numbers:
            raise ModelReplyError(
                f"asked for a score, the model said {reply[:100]!r}", model=self.model.model_id
            )
        return max(0.0, min(10.0, float(numbers[-1][:20])))

    def _order_passages(self, query: str, texts: Sequence[str]) -> list[int]:
        """Return the indices of `texts` in the order of the model, each once."""
        if len(texts) == 1:
            return [0]
        reply = ask(self.model, "rerank-listwise", question=query, passages=list(texts))
        # The longest row of numbers: there may be others in what the model says around it.
        row = max(_ORDER.findall(reply), key=lambda found: len(found.split()), default="")
        numbers = [int(number[:6]) - 1 for number in re.findall(r"\d+", row)]
        ranked_indices = list(dict.fromkeys(n for n in numbers if 0 <= n < len(texts)))
        if not ranked_indices:
            raise ModelReplyError(
                f"asked for an order, the model said {reply[:100]!r}", model=self.model.model_id
            )
        return ranked_indices + [i for i in range(len(texts)) if i not in ranked_indices]
