"""Late interaction: every token of the question looks for its nearest in the chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.postprocessing.base import append_below, reorder_by_scores
from rag.retrieval.base import Retriever
from rag.retrieval.fusion import fuse
from rag.retrieval.hybrid import HybridRetriever
from rag.types import Hit

if TYPE_CHECKING:
    from rag.filters import Where
    from rag.index import Index


class LateInteractionRetriever(Retriever):
    """The candidates of another retriever, ordered by MaxSim over vectors of single tokens.

    The score is the mean, over the tokens of the question, of the best cosine that a token of the
    chunk has (Khattab and Zaharia, 2020). The vectors are the embedder's own, of those that give
    them (`Embedder.embed_tokens`), made for ``depth`` candidates when they are asked for: nothing
    more is stored. ``weight`` is what that score counts beside the first one, both divided by
    their best.
    """

    name: ClassVar[str] = "late-interaction"

    first: Retriever = HybridRetriever()
    depth: int = Field(50, ge=1, le=1_000)
    weight: float = Field(0.5, ge=0, le=1)

    @property
    def is_external(self) -> bool:
        """As the first."""
        return self.first.is_external

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`. Raises `ConfigError` where the embedder gives no such."""
        import numpy as np

        hits = self.first.retrieve(query, k=max(k, self.depth), index=index, where=where)
        if not hits:
            return []
        (asked,) = index.embedder.embed_tokens([query], "query")
        texts = [hit.chunk.embedded_text for hit in hits[: self.depth]]
        found = index.embedder.embed_tokens(texts, "document")
        scores = {
            i: float(np.mean(np.max(asked @ tokens.T, axis=1))) if len(tokens) else 0.0
            for i, tokens in enumerate(found)
            if len(asked)
        }
        first = {i: hit.score for i, hit in enumerate(hits[: self.depth])}
        fused = fuse((scores, first), (self.weight, 1 - self.weight))
        order = [fused.get(i, 0.0) for i in range(len(texts))]
        ordered = reorder_by_scores(self.name, hits[: self.depth], order)
        return append_below(ordered, hits[self.depth :])[:k]
