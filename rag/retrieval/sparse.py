"""Learned sparse retrieval: SPLADE and its kind, in the lexical index."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rag.filters import Where
from rag.retrieval.base import Ranking, Retriever, to_hits
from rag.text.tokenization import words
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class SparseRetriever(Retriever):
    """Returns the chunks whose learned token weights fit those of the question best.

    The lexical index holds the weights: set ``sparse_encoder`` there and ingest. The score is the
    inner product of the vectors, whose document weights are rounded to 1/32.
    """

    name: ClassVar[str] = "sparse"

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`. Raises `ConfigError` if the index has no sparse vectors."""

        def search() -> list[Hit]:
            ranking = self._search(query, k, index, where)
            return to_hits(index, ranking, {self.name: ranking})

        return index.read_consistent(search)

    def rank(self, query: str, *, k: int, index: Index, where: Where | None = None) -> Ranking:
        """See `Retriever.rank`."""
        return index.read_consistent(lambda: self._search(query, k, index, where))

    def _search(self, query: str, k: int, index: Index, where: Where | None) -> Ranking:
        if not words(query):
            return []
        return index.search_lexical(index.build_sparse_query(query), k, where)
