"""Embeddings of Cohere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from rag.component import NotFingerprinted
from rag.concurrency import run_in_background
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder
from rag.errors import EmbeddingError, ModelRequestError
from rag.providers.cohere import REQUEST_OPTIONS, CohereProvider
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
MAX_TEXTS_PER_REQUEST = 96


class CohereEmbedder(CohereProvider, BatchedEmbedder):
    """Embeddings of Cohere, with one ``input_type`` for queries and one for documents.

    ``precision`` "int8" requests vectors of bytes: a quarter of the traffic, almost the same
    ranking. ``dimensions`` is sent for embed-v4.0. The server refuses texts that are too long; they
    are never truncated (``truncate`` is NONE). For the other settings see `CohereProvider`.
    """

    name: ClassVar[str] = "cohere"
    is_remote: ClassVar[bool] = True
    extra: ClassVar[str] = "cohere"

    model: str = Field("embed-v4.0", min_length=1)
    precision: Literal["float", "int8"] = "float"
    batch: Annotated[int, NotFingerprinted] = Field(
        MAX_TEXTS_PER_REQUEST, ge=1, le=MAX_TEXTS_PER_REQUEST
    )
    concurrency: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return the models of Cohere."""
        return _MODELS.values()

    @property
    def dimension(self) -> int:
        """Vector length: ``dimensions``, or that of the model."""
        known_model = _MODELS.get(self.model)
        model_dimension = known_model.dimension if known_model else None
        if model_dimension is None and self.dimensions is None:
            raise EmbeddingError(
                f"{self.model} is not known: say how long its vectors are", model=self.model
            )
        return min(model_dimension or 65_536, self.dimensions or 65_536)

    @property
    def max_tokens(self) -> int:
        """Input limit of the model; 512 for an unknown model."""
        known_model = _MODELS.get(self.model)
        return known_model.max_tokens if known_model and known_model.max_tokens else 512

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text. See `rag.text.tokens.count_tokens` for the vocabulary."""
        return [count_tokens(text) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Cohere's price; None for unknown models."""
        known_model = _MODELS.get(self.model)
        return known_model.usd if known_model else None

    @property
    def _max_batch_tokens(self) -> int:
        return 120_000

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        # Only v4 models take a length; of others that many values are kept.
        dimension_options = {"output_dimension": self.dimensions} if "v4" in self.model else {}

        async def embed(client: Any) -> Any:
            return await client.embed(
                model=self.model,
                texts=list(texts),
                input_type=f"search_{side}",
                embedding_types=[self.precision],
                truncate="NONE",
                request_options=REQUEST_OPTIONS,
                **{key: value for key, value in dimension_options.items() if value},
            )

        try:
            reply = run_in_background(self._call(embed))
            with self._translate_errors():
                values = getattr(reply.embeddings, _FIELDS[self.precision])
                return np.asarray(values, dtype=np.float32)
        except ModelRequestError as error:
            raise EmbeddingError(str(error), model=self.model) from None


_FIELDS = {"float": "float_", "int8": "int8"}
