"""Chat models as rerankers."""

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
_OF_TEN = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|of|out of)\s*10\b")
_ORDER = re.compile(r"\d+(?:[\s>,\[\]]+\d+)*")


class LlmReranker(Reranker):
    """A chat model that orders the chunks.

    ``listwise`` shows it ``window`` chunks at a time and asks for their order, from the last ones
    to the first, each window overlapping the next by half, so that what is best rises (Sun et
    al., 2023). ``pointwise`` asks of each chunk how well it answers, from 0 to 10, ``concurrency``
    beside each other. The prompts are ``rerank-listwise`` and ``rerank-pointwise``. What the model
    leaves out of an order keeps its place behind what it names; a reply without a number is a
    `ModelReplyError`.
    """

    name: ClassVar[str] = "llm"

    model: ChatModel
    mode: Literal["listwise", "pointwise"] = "listwise"
    depth: int = Field(20, ge=1, le=1_000)
    window: int = Field(10, ge=2, le=100)
    characters: int = Field(1_500, ge=50)
    concurrency: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.score`: 0 to 10 pointwise; listwise 1 for the first, 1/2 for the second."""
        shown = [escape_prompt_markup(text[: self.characters]) for text in texts]
        if not shown:
            return []
        if self.mode == "pointwise":
            return map_concurrently(lambda text: self._point(query, text), shown, self.concurrency)
        order = list(range(len(shown)))
        end = len(order)
        while True:
            start = max(0, end - self.window)
            window = order[start:end]
            ranks = self._order(query, [shown[i] for i in window])
            order[start:end] = [window[rank] for rank in ranks]
            if start == 0:
                break
            end -= self.window // 2
        place = {i: rank for rank, i in enumerate(order, start=1)}
        return [1 / place[i] for i in range(len(shown))]

    def _point(self, query: str, text: str) -> float:
        said = ask(self.model, "rerank-pointwise", question=query, passage=text)
        numbers = _OF_TEN.findall(said) or _NUMBER.findall(said)
        if not numbers:
            raise ModelReplyError(f"asked for a score, the model said {said[:100]!r}")
        return max(0.0, min(10.0, float(numbers[-1][:20])))

    def _order(self, query: str, texts: Sequence[str]) -> list[int]:
        """Places of `texts` in the order the model gives them, each once."""
        if len(texts) == 1:
            return [0]
        said = ask(self.model, "rerank-listwise", question=query, passages=list(texts))
        # The longest row of numbers: there may be others in what the model says around it.
        row = max(_ORDER.findall(said), key=lambda found: len(found.split()), default="")
        numbers = [int(number[:6]) - 1 for number in re.findall(r"\d+", row)]
        named = list(dict.fromkeys(n for n in numbers if 0 <= n < len(texts)))
        if not named:
            raise ModelReplyError(f"asked for an order, the model said {said[:100]!r}")
        return named + [i for i in range(len(texts)) if i not in named]
