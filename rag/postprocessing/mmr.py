"""Maximal marginal relevance: hits that are relevant and different from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.embedding.batched import normalised
from rag.postprocessing.base import Postprocessor
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class MMR(Postprocessor):
    """Maximal marginal relevance: each next hit near to the question and far from those before.

    ``relevance`` 1 leaves the order as it is, 0 looks at the distance alone. Nearness of hits is
    the cosine of their vectors; their scores are taken from 0 to 1, the best. It is given
    ``depth`` hits (Carbonell and Goldstein, 1998).
    """

    name: ClassVar[str] = "mmr"

    relevance: float = Field(0.7, ge=0, le=1)
    depth: int = Field(50, ge=1, le=1_000)

    @property
    def input_depth(self) -> int:
        """The depth."""
        return self.depth

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        import numpy as np

        if len(hits) < 2:
            return list(hits)
        vectors = index.vectors_for([hit.chunk for hit in hits])
        vectors = normalised(vectors)
        best = max(hit.score for hit in hits)
        lowest = min(0.0, *(hit.score for hit in hits))
        span = (best - lowest) or 1.0
        relevance = np.array([(hit.score - lowest) / span for hit in hits])
        nearest = np.zeros(len(hits))
        left = list(range(len(hits)))
        order: list[int] = []
        while left:
            gains = self.relevance * relevance[left] - (1 - self.relevance) * nearest[left]
            chosen = left.pop(int(np.argmax(gains)))
            order.append(chosen)
            nearest = np.maximum(nearest, vectors @ vectors[chosen])
        return [hits[i] for i in order]
