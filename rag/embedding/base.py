"""What every embedder does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.component import Component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Embedder(Component):
    """Text to vectors.

    Vectors are float32 and L2-normalised, so that their dot product is the cosine; a text
    without any content (empty, white space) is a row of zeros, similar to nothing, never NaN.
    """

    kind: ClassVar[str] = "embedder"

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
        """Embed passages: float32 ``[len(texts), dimension]``. Raises `EmbeddingError`."""

    @abstractmethod
    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question: float32 ``[dimension]``. Raises `EmbeddingError`."""
