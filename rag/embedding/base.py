"""The contract of embedders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from rag import tracing
from rag.component import Component
from rag.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Similarity = Literal["cosine", "dot"]
Side = Literal["document", "query"]


class KnownModel(NamedTuple):
    """A model that an embedder can use, as ``rag embedders`` lists it.

    ``max_tokens`` is the input limit in tokens, ``usd`` the price per million tokens. None means
    unknown, or that the value depends on the file.
    """

    model: str
    dimension: int | None
    max_tokens: int | None
    usd: float | None


@contextmanager
def embedding_span(embedder: Embedder, text_count: int) -> Iterator[None]:
    """Open a tracing span for the embedding of `text_count` texts."""
    model = str(getattr(embedder, "model", embedder.name))
    attributes = {
        "gen_ai.provider.name": tracing.provider_name(embedder.name),
        "gen_ai.request.model": model,
        "citewell.texts": text_count,
    }
    with tracing.span(f"embeddings {model}", operation="embeddings", attributes=attributes) as span:
        yield
        span.set("gen_ai.embeddings.dimension.count", embedder.dimension)


class Embedder(Component):
    """Turns text into vectors.

    Vectors are float32 and compared by their inner product. If `similarity` is "cosine", they are
    L2-normalized, so the inner product is the cosine. A text without content (empty or white space)
    gives a row of zeros, which is similar to nothing; it never gives NaN.
    """

    kind: ClassVar[str] = "embedder"
    is_remote: ClassVar[bool] = False
    """Whether a server embeds, which can load another model under the same name."""
    extra: ClassVar[str] = ""
    """Optional dependency group that it needs; "" for none."""

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return the models known by name. Other models may work as well."""
        return ()

    is_multilingual: ClassVar[bool] = True
    """False if texts of different languages are never similar; then a search says so."""

    @property
    def similarity(self) -> Similarity:
        """Similarity that the vectors were trained for: the cosine, or the plain inner product."""
        return "cosine"

    def dense_weight(self, query: str) -> float:
        """Return the weight (0..1) of dense scores in hybrid retrieval; BM25 has the rest.

        A retriever with a weight of its own does not use it.
        """
        return 0.6

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Input limit in tokens of `count_tokens`: longer texts are not embedded in one piece."""

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text with this embedder's tokenizer, without a network call."""

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Price in US dollars per million tokens: 0 for local models, None if unknown."""
        return None

    @abstractmethod
    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 ``[len(texts), dimension]``.

        Raises `EmbeddingError` for texts that it cannot embed, `ModelError` if a server fails.
        """

    def embed_in_parts(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Embed passages, and yield those of each request as soon as it is answered.

        A part has the indices of its texts, and vectors float32 ``[len(indices), dimension]``.
        After an error, the parts before it can be kept. Raises the errors of `embed_documents`.
        """
        yield list(range(len(texts))), self.embed_documents(texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed search queries: float32 ``[len(texts), dimension]``; the same as `embed_query`."""
        import numpy as np

        return np.array([self.embed_query(text) for text in texts], dtype=np.float32)

    @abstractmethod
    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question: float32 ``[dimension]``.

        Raises the same errors as `embed_documents`.
        """

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        """Return one vector per token of each text, float32 ``[tokens, d]``, L2-normalized.

        Late interaction needs it. Raises `ConfigError` if the embedder has no token vectors.
        """
        raise ConfigError(f"the embedder {self.name!r} gives no vectors of single tokens")
