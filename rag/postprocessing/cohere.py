"""Reranking with Cohere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from rag.concurrency import run_in_background
from rag.errors import ModelReplyError
from rag.postprocessing.base import Reranker
from rag.providers.cohere import REQUEST_OPTIONS, CohereProvider


class CohereReranker(CohereProvider, Reranker):
    """Cohere's rerank endpoint; the score is its relevance, from 0 to 1.

    Chunks longer than ``max_tokens`` are cut by the server, at their end: it is to order them,
    not to quote them. For the rest see `CohereProvider`.
    """

    name: ClassVar[str] = "cohere"
    extra: ClassVar[str] = "cohere"

    model: str = Field("rerank-v3.5", min_length=1)
    max_tokens: int = Field(4096, ge=1, le=1_000_000)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.score`."""

        async def rerank(client: Any) -> Any:
            return await client.rerank(
                model=self.model,
                query=query,
                documents=list(texts),
                top_n=len(texts),
                max_tokens_per_doc=self.max_tokens,
                request_options=REQUEST_OPTIONS,
            )

        reply = run_in_background(self._call(rerank))
        with self._translate_errors():
            scores = {int(result.index): float(result.relevance_score) for result in reply.results}
            if scores.keys() != set(range(len(texts))):
                raise ModelReplyError(
                    f"{self.model} scored {len(scores)} of {len(texts)} chunks", model=self.model
                )
            return [scores[i] for i in range(len(texts))]
