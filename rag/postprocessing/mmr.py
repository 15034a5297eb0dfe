"""Maximal marginal relevance: hits that are relevant and different from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.embedding.batched import normalize
from rag.postprocessing.base import Postprocessor
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class MMR(Postprocessor):
    """Maximal marginal relevance: each next hit is relevant and differs from the hits before.

    ``relevance`` 1 keeps the order, 0 uses the difference only. The similarity of hits is the
    cosine of their vectors; scores are scaled to 0..1. It receives ``depth`` hits (Carbonell and
    Goldstein, 1998).
    """

    name: ClassVar[str] = "mmr"

    relevance: float = Field(0.7, ge=0, le=1)
    depth: int = Field(50, ge=1, le=1_000)

    @property
    def input_depth(self) -> int:
        """The ``depth`` of the selection."""
        return self.depth

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        import numpy as np

        if len(hits) < 2:
            return list(hits)
        vectors = index.vectors_of_chunks([hit.chunk for hit in hits])
        vectors = normalize(vectors)
        best = max(hit.score for hit in hits)
        lowest = min(0.0, *(hit.score for hit in hits))
        span = (best - lowest) or 1.0
        relevance = np.array([(hit.score - lowest) / span for hit in hits])
        nearest = np.zeros(len(hits))
        remaining = list(range(len(hits)))
        order: list[int] = []
        while remaining:
            gains = (
                self.relevance * relevance[remaining] - (1 - self.relevance) * nearest[remaining]
            )
            best_index = remaining.pop(int(np.argmax(gains)))
            order.append(best_index)
            nearest = np.maximum(nearest, vectors @ vectors[best_index])
        return [hits[i] for i in order]
