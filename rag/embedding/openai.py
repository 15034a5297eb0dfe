"""Embeddings by OpenAI's API: OpenAI, Azure, and every compatible server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from rag.component import NotFingerprinted
from rag.concurrency import run_in_background
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder, tokens_without_prompt
from rag.errors import EmbeddingError, ModelRequestError
from rag.providers.dialects import find_batch_size, learn_batch_size
from rag.providers.openai import AzureOpenAIProvider, OllamaProvider, OpenAIProvider
from rag.text.tokens import count_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODELS = {  # https://platform.openai.com/docs/pricing, read in 2026
    "text-embedding-3-small": KnownModel("text-embedding-3-small", 1536, 8191, 0.02),
    "text-embedding-3-large": KnownModel("text-embedding-3-large", 3072, 8191, 0.13),
    "text-embedding-ada-002": KnownModel("text-embedding-ada-002", 1536, 8191, 0.10),
}
MAX_TEXTS_PER_REQUEST = 2048  # in a request to OpenAI
MAX_TOKENS_PER_REQUEST = (
    250_000  # OpenAI's limit is 300,000, and tokens may be counted by another vocabulary
)


class OpenAIEmbedder(OpenAIProvider, BatchedEmbedder):
    """Embeddings of OpenAI, llama.cpp, Ollama, vLLM, TEI and others (``/v1/embeddings``).

    ``dimensions`` is sent to OpenAI, whose newer models then return shorter vectors; for other
    servers, the first values of each vector are kept. ``limit`` is the input limit in tokens. If
    the server refuses a text, an `EmbeddingError` is raised: no text is truncated. The vector
    length of an unknown model is found with one request. Prompts are prepended to each text, for
    models trained with prompts. For the other settings see `OpenAIProvider`.
    """

    name: ClassVar[str] = "openai"
    is_remote: ClassVar[bool] = True
    extra: ClassVar[str] = "openai"

    model: str = Field("text-embedding-3-small", min_length=1)
    limit: int | None = Field(None, ge=1)
    query_prompt: str = ""
    document_prompt: str = ""
    batch: Annotated[int, NotFingerprinted] = Field(256, ge=1, le=MAX_TEXTS_PER_REQUEST)
    concurrency: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return the models of OpenAI."""
        return _MODELS.values()

    @property
    def dimension(self) -> int:
        """Vector length.

        ``dimensions``, the known length of the model, or that of a first reply.
        """
        known_model = _MODELS.get(self.model) if self._is_openai else None
        if known_model is not None and known_model.dimension is not None:
            return min(known_model.dimension, self.dimensions or known_model.dimension)
        return self.dimensions or _probe_dimension(self)

    @property
    def max_tokens(self) -> int:
        """``limit``, or the input limit of OpenAI's models, without the longer prompt."""
        model_tokens = self.limit or (8191 if self._is_openai else 512)
        prompts = [prompt for prompt in (self.query_prompt, self.document_prompt) if prompt]
        return tokens_without_prompt(
            self.model, model_tokens, max(self.count_tokens(prompts), default=0)
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text. See `rag.text.tokens.count_tokens` for the vocabulary."""
        return [count_tokens(text) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float | None:
        """OpenAI's price; None for unknown models and other servers."""
        known_model = _MODELS.get(self.model) if self._is_openai else None
        return known_model.usd if known_model else None

    @property
    def _max_batch_tokens(self) -> int:
        return MAX_TOKENS_PER_REQUEST if self._is_openai else 32_000

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        prompt = self.query_prompt if side == "query" else self.document_prompt
        return self._request_vectors([prompt + text for text in texts])

    def _request_vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 ``[n, d]``, in as many requests as the server needs.

        A server that takes fewer texts in a request says so when it refuses one.
        """
        import numpy as np

        vectors: list[NDArray[Any]] = []
        while (start := len(vectors)) < len(texts):
            size = find_batch_size(self._endpoint) or len(texts)
            batch = texts[start : start + size]
            try:
                vectors += self._request_batch(batch)
            except ModelRequestError as error:
                if not learn_batch_size(self._endpoint, str(error), len(batch)):
                    raise EmbeddingError(str(error), model=self.model) from None
        if len({len(vector) for vector in vectors}) > 1:
            raise EmbeddingError(
                f"{self._server_name} sent vectors of different lengths", model=self.model
            )
        return np.stack(vectors).astype(np.float32)

    def _request_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Return the vectors of texts from one request."""
        request: dict[str, Any] = {"model": self.model, "input": list(texts)}
        if self.dimensions is not None and self._is_openai:
            request["dimensions"] = self.dimensions
        # base64 is what OpenAI's client asks for by itself; some servers know floats only.
        request["encoding_format"] = "base64" if self._is_openai else "float"
        with self._translate_errors():
            reply = json.loads(run_in_background(self._request(request)).decode("utf-8-sig"))
            if error := reply.get("error"):
                reason = error.get("message", error) if isinstance(error, dict) else error
                raise self._make_embedded_error(str(reason))
            return [_decode_vector(item["embedding"]) for item in self._sort(reply, len(texts))]

    async def _request(self, request: dict[str, Any]) -> bytes:
        async with self._send(_call_embeddings, request) as response:
            return bytes(response.content)

    def _sort(self, reply: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """Return the items of a reply in the order of the texts.

        Some servers leave out ``index``, everywhere or where it is 0; then their order counts.
        """
        items = reply.get("data") or []
        if len(items) != count:
            raise EmbeddingError(
                f"{self._server_name} sent {len(items)} vectors for {count} texts",
                model=self.model,
            )
        if {item.get("index") or 0 for item in items} == {0}:
            return list(items)
        indices = [item.get("index") or 0 for item in items]
        if sorted(indices) != list(range(count)):
            raise EmbeddingError(
                f"{self._server_name} sent vectors whose `index` is not 0 to {count - 1}",
                model=self.model,
            )
        return [item for _, item in sorted(zip(indices, items, strict=True), key=itemgetter(0))]


class AzureOpenAIEmbedder(AzureOpenAIProvider, OpenAIEmbedder):
    """Embeddings by Azure OpenAI; ``model`` is the name of the deployment.

    Set ``dimensions`` if the deployment is not named after its model.
    """

    name: ClassVar[str] = "azure-openai"

    model: str = Field("text-embedding-3-small", min_length=1)


class OllamaEmbedder(OllamaProvider, OpenAIEmbedder):
    """Embeddings by Ollama; ``model`` is a model that was pulled: ``nomic-embed-text``.

    ``limit`` is the input limit of the model in tokens. For ``base_url`` see `OllamaProvider`, for
    the other settings `OpenAIEmbedder`.
    """

    name: ClassVar[str] = "ollama"

    model: str = Field(min_length=1)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return no models: the owner of the server pulls them."""
        return ()

    @property
    def usd_per_million_tokens(self) -> float | None:
        """0: the server is the user's own."""
        return 0.0


@asynccontextmanager
async def _call_embeddings(client: Any, request: dict[str, Any]) -> AsyncIterator[Any]:
    """Send a request as it is: ``client.embeddings`` always adds an encoding."""
    import httpx

    yield await client.post("/embeddings", body=request, cast_to=httpx.Response)


def _decode_vector(embedding: Any) -> NDArray[Any]:
    import numpy as np

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)


@lru_cache(maxsize=64)
def _probe_dimension(embedder: OpenAIEmbedder) -> int:
    length = int(embedder._request_vectors(["length"]).shape[1])
    if not length:
        raise EmbeddingError(
            f"{embedder.model} sends vectors without a value", model=embedder.model
        )
    return length
