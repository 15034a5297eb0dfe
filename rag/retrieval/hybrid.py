"""Both at once: the default retriever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.retrieval.base import Retriever, to_hits
from rag.text import stems
from rag.types import Hit, Where

if TYPE_CHECKING:
    from rag.index import Index


class HybridRetriever(Retriever):
    """A weighted sum of dense and BM25 scores, each divided by the best candidate's.

    The candidates are the best ``candidates`` chunks of either retriever, and both scores are
    completed for every one of them: the cosine of what only BM25 found, and the reverse. The sum
    is ``weight * dense + (1 - weight) * lexical``. Zero stays zero: unlike the lowest score among
    the candidates, it does not depend on how many there are. On eight collections this is no
    worse than the better of the two halves, where reciprocal-rank fusion falls below BM25 alone
    on five (``docs/decisions.md``).
    """

    name: ClassVar[str] = "hybrid"

    weight: float = Field(0.45, ge=0, le=1)
    candidates: int = Field(100, ge=1, le=5_000)

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""
        if not stems(query):
            return []
        vector = index.embedder.embed_query(query)
        depth = max(k, self.candidates)

        def search() -> list[Hit]:
            dense, lexical = index.both(
                lambda: index.search_dense(vector, depth, where),
                lambda: index.search_lexical(query, depth, where),
            )
            cosines, bm25 = dict(dense), dict(lexical)
            only_lexical = [row for row in bm25 if row not in cosines]
            only_dense = [row for row in cosines if row not in bm25]
            more_cosines, more_bm25 = index.both(
                lambda: index.dense_scores(vector, only_lexical),
                lambda: index.lexical_scores(query, only_dense),
            )
            cosines |= more_cosines
            bm25 |= more_bm25
            ranking = self._fuse(cosines, bm25)[:k]
            return to_hits(index, ranking, {"dense": dense, "lexical": lexical})

        return index.consistently(search)

    def _fuse(
        self, dense: Mapping[int, float], lexical: Mapping[int, float]
    ) -> list[tuple[int, float]]:
        dense, lexical = normalised(dense), normalised(lexical)
        scores = {
            row: self.weight * dense.get(row, 0.0) + (1 - self.weight) * lexical.get(row, 0.0)
            for row in dense.keys() | lexical.keys()
        }
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def normalised(scores: Mapping[int, float]) -> dict[int, float]:
    """Scores from 0 (nothing in common, or less) to 1 (the best of these); all 0 without a best."""
    best = max(scores.values(), default=0.0)
    return {row: max(0.0, score) / best if best > 0 else 0.0 for row, score in scores.items()}
