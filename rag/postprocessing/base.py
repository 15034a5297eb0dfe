"""What every postprocessor does, rerankers among them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rag.component import Component, NotFingerprinted
from rag.errors import ModelReplyError
from rag.types import Hit, StageScore

if TYPE_CHECKING:
    from rag.index import Index


class Postprocessor(Component):
    """Hits to better hits: rerankers, diversity, expansion."""

    kind: ClassVar[str] = "postprocessor"
    extra: ClassVar[str] = ""
    """Optional dependency group that it needs; "" for none."""
    must_be_last: ClassVar[bool] = False
    """Whether no other postprocessor may follow."""

    @property
    def input_depth(self) -> int:
        """How many hits it should be given, where there are as many; 0 for what is asked for."""
        return 0

    @property
    def oversample(self) -> int:
        """How many hits it should be given beyond those that are asked for."""
        return 0

    @abstractmethod
    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """Reorder, drop or widen `hits` of `index`, best first. Nothing of no hits."""


class Reranker(Postprocessor):
    """A postprocessor that reads the question and each chunk together, and orders anew.

    It is given ``depth`` hits, whatever number is asked for in the end: more find more, and take
    longer. What is behind them keeps its order and comes last.
    """

    depth: int = Field(50, ge=1, le=1_000)
    batch: Annotated[int, NotFingerprinted] = Field(16, ge=1, le=1_000)

    @property
    def input_depth(self) -> int:
        """The depth."""
        return self.depth

    @abstractmethod
    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each of `texts` answers `query`: higher is better, on a scale of its own."""

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        first, rest = list(hits[: self.depth]), list(hits[self.depth :])
        if not first:
            return []
        scores = [float(s) for s in self.score(query, [hit.chunk.embedded_text for hit in first])]
        if len(scores) != len(first) or not all(map(math.isfinite, scores)):
            raise ModelReplyError(
                f"{self.name} gave {len(scores)} scores for {len(first)} chunks, or no numbers"
            )
        return append_below(reorder_by_scores(self.name, first, scores), rest)


def append_below(first: list[Hit], rest: Sequence[Hit]) -> list[Hit]:
    """The rest behind the first, with scores below theirs: those they had are of another scale."""
    lowest = min(hit.score for hit in first)
    step = 1e-6 * max(1.0, abs(lowest))
    return first + [
        hit.model_copy(update={"score": lowest - step * place})
        for place, hit in enumerate(rest, start=1)
    ]


def reorder_by_scores(name: str, hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """Hits by new scores, best first, ties as they were; `name` stands among their origins."""
    order = sorted(range(len(hits)), key=lambda i: (-scores[i], i))
    return [
        hits[i].model_copy(
            update={
                "score": scores[i],
                "stage_scores": hits[i].stage_scores
                | {name: StageScore(rank=rank, score=scores[i])},
            }
        )
        for rank, i in enumerate(order, start=1)
    ]
