"""What every retriever does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.component import Component
from rag.embedding.base import embedding
from rag.filters import Where
from rag.types import Hit, StageScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index import Index


class Retriever(Component):
    """A question to the chunks that may answer it."""

    kind: ClassVar[str] = "retriever"

    @property
    def is_external(self) -> bool:
        """Whether it finds elsewhere than in the index, which then may be empty.

        Its hits are chunks of the index's documents where these hold the same words, and otherwise
        passages by themselves: see `rag.retrieval.external_passages`.
        """
        return False

    @abstractmethod
    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """Up to `k` hits in `index`, best first, among the documents that `where` selects.

        A query without a word in it has no hits.
        """


Ranking = Sequence[tuple[int, float]]
"""Chunk rows with a score, best first."""


def query_vector(index: Index, query: str) -> NDArray[np.float32]:
    """The question's vector: float32 ``[dimension]``."""
    with embedding(index.embedder, 1):
        return index.embedder.embed_query(query)


def to_hits(index: Index, ranking: Ranking, origins: Mapping[str, Ranking]) -> list[Hit]:
    """Make hits of a ranking; `origins` are the rankings it came from, by retriever."""
    chunks = index.chunks([row for row, _ in ranking])
    places = {
        name: {
            row: StageScore(rank=i, score=score)
            for i, (row, score) in enumerate(ranked, start=1)
            if row in chunks
        }
        for name, ranked in origins.items()
    }
    return [
        Hit(
            chunk=chunks[row],
            score=score,
            stage_scores={name: place[row] for name, place in places.items() if row in place},
        )
        for row, score in ranking
        if row in chunks
    ]
