"""Dense retrieval: nearest vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rag.filters import Where
from rag.retrieval.base import (
    Ranking,
    Retriever,
    describe_language_gap,
    embed_query,
    to_hits,
)
from rag.text.tokenization import words
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class DenseRetriever(Retriever):
    """Returns the chunks whose vectors are nearest to the query vector. The score is the cosine."""

    name: ClassVar[str] = "dense"

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""
        vector = embed_query(index, query) if words(query) else None

        def search() -> list[Hit]:
            ranking = [] if vector is None else index.search_dense(vector, k, where)
            return to_hits(index, ranking, {self.name: ranking})

        return index.read_consistent(search)

    def rank(self, query: str, *, k: int, index: Index, where: Where | None = None) -> Ranking:
        """See `Retriever.rank`."""
        if not words(query):
            return []
        vector = embed_query(index, query)
        return index.read_consistent(lambda: index.search_dense(vector, k, where))

    def find_notes(self, query: str, index: Index) -> tuple[str, ...]:
        """See `Retriever.find_notes`."""
        return describe_language_gap(query, index)
