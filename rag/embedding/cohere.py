"""Cohere's embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder
from rag.errors import EmbeddingError, ModelRequestError
from rag.providers.cohere import CohereProvider
from rag.text.tokens import count_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODELS = {  # https://docs.cohere.com/docs/models, read in 2026
    "embed-v4.0": KnownModel("embed-v4.0", 1536, 128_000, 0.12),
    "embed-english-v3.0": KnownModel("embed-english-v3.0", 1024, 512, 0.10),
    "embed-multilingual-v3.0": KnownModel("embed-multilingual-v3.0", 1024, 512, 0.10),
    "embed-english-light-v3.0": KnownModel("embed-english-light-v3.0", 384, 512, 0.10),
    "embed-multilingual-light-v3.0": KnownModel("embed-multilingual-light-v3.0", 384, 512, 0.10),
}
_MOST_TEXTS = 96


class CohereEmbedder(CohereProvider, BatchedEmbedder):
    """Embeddings of Cohere, each side by its own ``input_type``.

    ``precision`` "int8" asks for vectors of bytes: a quarter of the traffic, nearly the same
    order. ``dimensions`` is asked of embed-v4.0. Texts that are too long are refused by the
    server, never cut (``truncate`` is NONE). For the rest see `CohereProvider`.
    """

    name: ClassVar[str] = "cohere"
    extra: ClassVar[str] = "cohere"

    model: str = Field("embed-v4.0", min_length=1)
    precision: Literal["float", "int8"] = "float"
    batch: Annotated[int, NotFingerprinted] = Field(_MOST_TEXTS, ge=1, le=_MOST_TEXTS)
    concurrency: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Cohere's own."""
        return _MODELS.values()

    @property
    def dimension(self) -> int:
        """As asked for, or the model's."""
        known = _MODELS.get(self.model)
        own = known.dimension if known else None
        if own is None and self.dimensions is None:
            raise EmbeddingError(f"{self.model} is not known: say how long its vectors are")
        return min(own or 65_536, self.dimensions or 65_536)

    @property
    def max_tokens(self) -> int:
        """What the model reads; 512 for one that is not known."""
        known = _MODELS.get(self.model)
        return known.max_tokens if known and known.max_tokens else 512

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text; see `rag.text.tokens.count_tokens` for the vocabulary."""
        return [count_tokens(text) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Cohere's price; None for what is not known."""
        known = _MODELS.get(self.model)
        return known.usd if known else None

    @property
    def _most_batch_tokens(self) -> int:
        return 120_000

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        # Only v4 models take a length; of others that many values are kept.
        shorter = {"output_dimension": self.dimensions} if "v4" in self.model else {}
        try:
            with self._translate_errors():
                reply = self._client().embed(
                    model=self.model,
                    texts=list(texts),
                    input_type=f"search_{side}",
                    embedding_types=[self.precision],
                    truncate="NONE",
                    request_options=self._options,
                    **{key: value for key, value in shorter.items() if value},
                )
                found = getattr(reply.embeddings, _FIELDS[self.precision])
                return np.asarray(found, dtype=np.float32)
        except ModelRequestError as error:
            raise EmbeddingError(str(error)) from None


_FIELDS = {"float": "float_", "int8": "int8"}
