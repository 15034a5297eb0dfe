"""What every embedder does."""

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
    """A model an embedder can use, as ``rag embedders`` lists it.

    ``max_tokens`` is the longest text it reads, ``usd`` the price of a million tokens; None is
    for what is not known, and for what depends on the file.
    """

    model: str
    dimension: int | None
    max_tokens: int | None
    usd: float | None


@contextmanager
def embedding(embedder: Embedder, texts: int) -> Iterator[None]:
    """A span for embedding so many texts."""
    model = str(getattr(embedder, "model", embedder.name))
    attributes = {
        "gen_ai.provider.name": tracing.provider_of(embedder.name),
        "gen_ai.request.model": model,
        "citewell.texts": texts,
    }
    with tracing.span(f"embeddings {model}", operation="embeddings", attributes=attributes) as made:
        yield
        made.set("gen_ai.embeddings.dimension.count", embedder.dimension)


class Embedder(Component):
    """Text to vectors.

    Vectors are float32, compared by their inner product. Where `similarity` is "cosine" they are
    L2-normalised, so that it is the cosine. A text without any content (empty, white space) is a
    row of zeros, similar to nothing, never NaN.
    """

    kind: ClassVar[str] = "embedder"
    extra: ClassVar[str] = ""
    """Optional dependency group that it needs; "" for none."""

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Models that are known by name; others may work as well."""
        return ()

    @property
    def similarity(self) -> Similarity:
        """What the vectors were trained for: their cosine, or their inner product as they are."""
        return "cosine"

    def dense_weight(self, query: str) -> float:
        """What its scores for `query` count beside BM25's (0 to 1), unless a retriever says it."""
        return 0.6

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Longest text that is embedded whole, in tokens of `count_tokens`."""

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in this embedder's own tokens; never a network call."""

    @property
    def usd_per_million_tokens(self) -> float | None:
        """What embedding costs, in US dollars; 0 for what runs here, None where not known."""
        return None

    @abstractmethod
    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 ``[len(texts), dimension]``.

        Raises `EmbeddingError` for texts it cannot embed, `ModelError` where a server fails.
        """

    @abstractmethod
    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question: float32 ``[dimension]``. Raises as `embed_documents`."""

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        """A vector for each token of each text, float32 ``[tokens, d]``, L2-normalised.

        For late interaction. Raises `ConfigError` where the embedder gives none.
        """
        raise ConfigError(f"the embedder {self.name!r} gives no vectors of single tokens")
