"""Embeddings behind OpenAI's API: OpenAI's own, Azure's, and every server that speaks it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder, room
from rag.errors import EmbeddingError, ModelRequestError
from rag.providers.openai import AzureOpenAIProvider, OpenAIProvider
from rag.text.tokens import count_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODELS = {  # https://platform.openai.com/docs/pricing, read in 2026
    "text-embedding-3-small": KnownModel("text-embedding-3-small", 1536, 8191, 0.02),
    "text-embedding-3-large": KnownModel("text-embedding-3-large", 3072, 8191, 0.13),
    "text-embedding-ada-002": KnownModel("text-embedding-ada-002", 1536, 8191, 0.10),
}
_MOST_TEXTS = 2048  # in a request to OpenAI
_MOST_TOKENS = 250_000  # OpenAI's limit is 300,000, and tokens may be counted by another vocabulary


class OpenAIEmbedder(OpenAIProvider, BatchedEmbedder):
    """Embeddings of OpenAI, and of llama.cpp, Ollama, vLLM, TEI and the like (``/v1/embeddings``).

    ``dimensions`` is asked of OpenAI's newer models, which then send shorter vectors; of other
    servers' vectors that many values are kept. ``limit`` is the longest text in tokens; what the
    server refuses all the same is an `EmbeddingError`, as no text is cut in silence. The length of
    a vector of a model that is not known is found by asking once. Prompts stand in front of each
    text, where the model was trained with such. For the rest see `OpenAIProvider`.
    """

    name: ClassVar[str] = "openai"
    extra: ClassVar[str] = "openai"

    model: str = Field("text-embedding-3-small", min_length=1)
    limit: int | None = Field(None, ge=1)
    query_prompt: str = ""
    document_prompt: str = ""
    batch: Annotated[int, NotFingerprinted] = Field(256, ge=1, le=_MOST_TEXTS)
    concurrency: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """OpenAI's own."""
        return _MODELS.values()

    @property
    def dimension(self) -> int:
        """As asked for, as known, or as the server's first answer shows."""
        known = _MODELS.get(self.model) if self._is_openai else None
        if known is not None and known.dimension is not None:
            return min(known.dimension, self.dimensions or known.dimension)
        return self.dimensions or _asked_length(self)

    @property
    def max_tokens(self) -> int:
        """``limit``, or what OpenAI's models read, without the longer of the prompts."""
        most = self.limit or (8191 if self._is_openai else 512)
        prompts = [prompt for prompt in (self.query_prompt, self.document_prompt) if prompt]
        return room(self.model, most, max(self.count_tokens(prompts), default=0))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text; see `rag.text.tokens.count_tokens` for the vocabulary."""
        return [count_tokens(text) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float | None:
        """OpenAI's price; None for what is not known, 0 is for one's own servers to say."""
        known = _MODELS.get(self.model) if self._is_openai else None
        return known.usd if known else None

    @property
    def _most_batch_tokens(self) -> int:
        return _MOST_TOKENS if self._is_openai else 32_000

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        prompt = self.query_prompt if side == "query" else self.document_prompt
        return self._asked([prompt + text for text in texts])

    def _asked(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        request: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self.dimensions is not None and self._is_openai:
            request["dimensions"] = self.dimensions
        # base64 is what OpenAI's client asks for by itself; some servers know floats only.
        request["encoding_format"] = "base64" if self._is_openai else "float"
        try:
            with self._translate_errors():
                reply = self._client().embeddings.create(**request)
                found = sorted(reply.data, key=lambda item: item.index)
                if [item.index for item in found] != list(range(len(texts))):
                    raise EmbeddingError(
                        f"{self._where} sent {len(found)} vectors for {len(texts)} texts"
                    )
                vectors = [_values(item.embedding) for item in found]
                if len({len(vector) for vector in vectors}) > 1:
                    raise EmbeddingError(f"{self._where} sent vectors of different lengths")
                return np.stack(vectors).astype(np.float32)
        except ModelRequestError as error:
            raise EmbeddingError(str(error)) from None


class AzureOpenAIEmbedder(AzureOpenAIProvider, OpenAIEmbedder):
    """The same behind Azure OpenAI; ``model`` is the deployment's name.

    Name ``dimensions`` where the deployment is not called as its model is.
    """

    name: ClassVar[str] = "azure-openai"

    model: str = Field("text-embedding-3-small", min_length=1)


def _values(embedding: Any) -> NDArray[Any]:
    import numpy as np

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)


@lru_cache(maxsize=64)
def _asked_length(embedder: OpenAIEmbedder) -> int:
    length = int(embedder._asked(["length"]).shape[1])
    if not length:
        raise EmbeddingError(f"{embedder.model} sends vectors without a value")
    return length
