"""The base class of adapters for another framework's embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, PrivateAttr

from rag.embedding.base import Side
from rag.embedding.batched import BatchedEmbedder
from rag.interop.base import Adapter, translate_error
from rag.text.tokens import count_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbedderAdapter(Adapter, BatchedEmbedder):
    """Another framework's embeddings as an embedder.

    ``limit`` is the longest text that the model reads, in tokens as `rag.text.tokens` counts them;
    the frameworks' interfaces do not report it. The vector length is measured by embedding one
    text.
    """

    limit: int = Field(512, ge=16, le=1_000_000)
    _measured_dimension: int | None = PrivateAttr(None)

    @property
    def dimension(self) -> int:
        """Vector length."""
        if self.dimensions is not None:
            return self.dimensions
        if self._measured_dimension is None:
            self._measured_dimension = int(self._embed(["a"], "query").shape[1])
        return self._measured_dimension

    @property
    def max_tokens(self) -> int:
        """See `Embedder.max_tokens`."""
        return self.limit

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.count_tokens`."""
        return [count_tokens(text) for text in texts]

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        try:
            if side == "document":
                vectors = self._request_document_vectors(list(texts))
            else:
                vectors = [self._request_query_vector(text) for text in texts]
            return np.asarray(vectors, dtype=np.float32)
        except Exception as error:
            raise translate_error(self.label, error) from error

    @abstractmethod
    def _request_document_vectors(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """Return the wrapped object's vectors of passages."""

    @abstractmethod
    def _request_query_vector(self, text: str) -> Sequence[float]:
        """Return the wrapped object's vector of a question."""
