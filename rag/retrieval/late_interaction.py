"""Late interaction (MaxSim): every query token is matched with its most similar chunk token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.postprocessing.base import append_below, reorder_by_scores
from rag.retrieval.base import Retriever
from rag.retrieval.fusion import fuse
from rag.retrieval.hybrid import HybridRetriever
from rag.types import FavouredDocument, Hit

if TYPE_CHECKING:
    from rag.filters import Where
    from rag.index import Index


class LateInteractionRetriever(Retriever):
    """Reorders the candidates of another retriever by MaxSim over token vectors.

    The score is the mean, over the query tokens, of the highest cosine with a token of the chunk
    (Khattab and Zaharia, 2020). The token vectors come from `Embedder.embed_tokens` and are
    computed for ``depth`` candidates at query time: nothing more is stored. ``weight`` is the
    weight of this score relative to the first retriever's, both divided by their best.
    """

    name: ClassVar[str] = "late-interaction"

    first: Retriever = HybridRetriever()
    depth: int = Field(50, ge=1, le=1_000)
    weight: float = Field(0.5, ge=0, le=1)

    @property
    def is_external(self) -> bool:
        """Whether the first retriever searches outside the index."""
        return self.first.is_external

    def find_favoured(self, query: str, index: Index) -> tuple[FavouredDocument, ...]:
        """See `Retriever.find_favoured`."""
        return self.first.find_favoured(query, index)

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """Retrieve and reorder. Raises `ConfigError` if the embedder has no token vectors."""
        import numpy as np

        hits = self.first.retrieve(query, k=max(k, self.depth), index=index, where=where)
        if not hits:
            return []
        (query_tokens,) = index.embedder.embed_tokens([query], "query")
        texts = [hit.chunk.embedded_text for hit in hits[: self.depth]]
        document_tokens = index.embedder.embed_tokens(texts, "document")
        scores = {
            i: float(np.mean(np.max(query_tokens @ tokens.T, axis=1))) if len(tokens) else 0.0
            for i, tokens in enumerate(document_tokens)
            if len(query_tokens)
        }
        first_scores = {i: hit.score for i, hit in enumerate(hits[: self.depth])}
        fused = fuse((scores, first_scores), (self.weight, 1 - self.weight))
        order = [fused.get(i, 0.0) for i in range(len(texts))]
        ordered = reorder_by_scores(self.name, hits[: self.depth], order)
        return append_below(ordered, hits[self.depth :])[:k]
