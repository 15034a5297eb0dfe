"""The contract of postprocessors and rerankers."""

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
    """Changes hits after retrieval: rerankers, diversity, expansion.

    LlamaIndex calls it a node postprocessor, Haystack a ranker, LangChain a document compressor.
    """

    kind: ClassVar[str] = "postprocessor"
    extra: ClassVar[str] = ""
    """Optional dependency group that it needs; "" for none."""
    must_be_last: ClassVar[bool] = False
    """Whether no other postprocessor may follow."""

    @property
    def input_depth(self) -> int:
        """Number of hits that it needs as input; 0 for as many as the caller requests."""
        return 0

    @property
    def oversample(self) -> int:
        """Number of hits that it needs in addition to those requested."""
        return 0

    @abstractmethod
    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """Reorder, drop or widen `hits` of `index`, and return them, best first.

        No hits give no hits.
        """


class Reranker(Postprocessor):
    """A postprocessor that reads the question together with each chunk, and reorders the chunks.

    It receives ``depth`` hits, even if fewer are requested: a larger depth finds more and takes
    longer. Hits beyond ``depth`` keep their order and come last.
    """

    depth: int = Field(50, ge=1, le=1_000)
    batch: Annotated[int, NotFingerprinted] = Field(16, ge=1, le=1_000)

    @property
    def input_depth(self) -> int:
        """The ``depth`` of the reranker."""
        return self.depth

    @abstractmethod
    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Score each of `texts` for `query`. Higher is better; the scale is free."""

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


def append_below(ranked_hits: list[Hit], remaining_hits: Sequence[Hit]) -> list[Hit]:
    """Append the remaining hits with scores below the lowest one, since their scales differ."""
    lowest = min(hit.score for hit in ranked_hits)
    step = 1e-6 * max(1.0, abs(lowest))
    return ranked_hits + [
        hit.model_copy(update={"score": lowest - step * offset})
        for offset, hit in enumerate(remaining_hits, start=1)
    ]


def reorder_by_scores(name: str, hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """Sort hits by new scores, best first, ties in the old order; add a stage score for `name`."""
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
