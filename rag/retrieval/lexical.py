"""Retrieval by words: BM25."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rag.retrieval.base import Retriever, to_hits
from rag.types import Hit, Where

if TYPE_CHECKING:
    from rag.index import Index


class LexicalRetriever(Retriever):
    """Chunks that share rare words with the question; the score is BM25's (k1 1.2, b .75)."""

    name: ClassVar[str] = "lexical"

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""

        def search() -> list[Hit]:
            ranking = index.search_lexical(query, k, where)
            return to_hits(index, ranking, {self.name: ranking})

        return index.consistently(search)
