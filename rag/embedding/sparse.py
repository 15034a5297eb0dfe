"""The contract of sparse encoders: learned term weights instead of word counts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from rag.component import Component

SparseVector = dict[str, float]
"""The tokens of a vocabulary with a weight above 0; all other weights are 0."""


class SparseEncoder(Component):
    """Turns text into weights of the tokens of a vocabulary, for `SparseRetriever`.

    The score of a text for a query is the inner product of their vectors. A model adds tokens that
    the text does not contain but that mean the same, so a question and an answer in other words
    have tokens in common (SPLADE, Formal et al., 2021).
    """

    kind: ClassVar[str] = "sparse_encoder"

    @abstractmethod
    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Encode passages, one vector for each. An empty text has an empty vector.

        Raises `EmbeddingError`.
        """

    @abstractmethod
    def encode_query(self, text: str) -> SparseVector:
        """Encode a question. Raises `EmbeddingError`."""
