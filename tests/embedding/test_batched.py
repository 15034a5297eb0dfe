"""What every embedder behind a model does: batches, long texts, blanks, shorter vectors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PrivateAttr

from rag.embedding import BatchedEmbedder
from rag.embedding.base import Side
from rag.embedding.batched import normalize
from rag.errors import EmbeddingError


class Letters(BatchedEmbedder):
    """Counts letters: a token is a word, and it reads five."""

    name: ClassVar[str] = "letters"
    _batches_seen: list[list[str]] = PrivateAttr(default_factory=list)
    _guard: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def dimension(self) -> int:
        return self.dimensions or 26

    @property
    def max_tokens(self) -> int:
        return 5

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    @property
    def _most_batch_tokens(self) -> int:
        return 12

    def _embed(self, texts: Sequence[str], side: Side) -> np.ndarray:
        with self._guard:
            self._batches_seen.append(list(texts))
        return np.array(
            [[text.count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], dtype="f4"
        )


@given(st.lists(st.text("ab c", max_size=30), max_size=12), st.integers(1, 4), st.integers(1, 3))
def test_batches_change_nothing(texts: list[str], batch: int, concurrency: int) -> None:
    unbatched = Letters(batch=100).embed_documents(texts)
    embedder = Letters(batch=batch, concurrency=concurrency)
    some = embedder.embed_documents(texts)
    assert np.allclose(unbatched, some, atol=1e-6)
    assert some.shape == (len(texts), 26) and some.dtype == np.float32
    for text, vector in zip(texts, some, strict=True):
        assert np.isclose(np.linalg.norm(vector), 1.0 if text.strip() else 0.0, atol=1e-5)
    for embedded_batch in embedder._batches_seen:
        assert 1 <= len(embedded_batch) <= batch
        counts = embedder.count_tokens(embedded_batch)
        assert max(counts) <= 5
        assert len(embedded_batch) == 1 or sum(counts) <= 12


@given(st.lists(st.sampled_from(["a", "bb", "c"]), min_size=6, max_size=40))
def test_a_long_text_is_embedded_whole(words: list[str]) -> None:
    embedder = Letters(dimensions=3)
    text = " ".join(words)
    vector = embedder.embed_query(text)
    embedded_text = " ".join(piece for batch in embedder._batches_seen for piece in batch)
    assert sorted(embedded_text.split()) == sorted(words)
    assert np.isclose(np.linalg.norm(vector), 1.0, atol=1e-5)


def test_long_texts_are_counted_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["a b c", "a b c d e f", "x " * 100]
    with caplog.at_level(logging.WARNING):
        Letters().embed_documents(texts)
    assert "2 texts longer than 5 tokens" in caplog.text
    with pytest.raises(EmbeddingError, match="6 tokens, and letters reads 5"):
        Letters(too_long="error").embed_documents(texts)


def test_shorter_vectors_are_the_leading_values_normalised() -> None:
    full_vector = Letters().embed_query("abc abc z")
    short = Letters(dimensions=3).embed_query("abc abc z")
    assert np.allclose(short, full_vector[:3] / np.linalg.norm(full_vector[:3]))


class Dense(Letters):
    """Eight tokens a letter, and it reads five."""

    name: ClassVar[str] = "dense-letters"

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [8 * len(text) for text in texts]


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(EmbeddingError, match=r"reads 5 tokens, and .* has 8"):
        Dense().embed_query("abba" * 3 + "x")


def test_large_values_do_not_overflow() -> None:
    normalized = normalize(np.array([[1e30, 1e30], [1e-30, 0], [0, 0]], dtype="f4"))
    assert np.allclose(normalized, [[0.5**0.5, 0.5**0.5], [1, 0], [0, 0]])


class Broken(Letters):
    name: ClassVar[str] = "broken"
    how: str

    def _embed(self, texts: Sequence[str], side: Side) -> np.ndarray:
        vectors = super()._embed(texts, side)
        if self.how == "nan":
            vectors[0, 0] = np.nan
        return {
            "nan": vectors,
            "fewer": vectors[:-1],
            "short": vectors[:, :5],
            "long": np.ones((len(texts), 30), dtype="f4"),
            "flat": vectors[0],
        }[self.how]


@pytest.mark.parametrize("how", ["nan", "fewer", "short", "long", "flat"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_a_model_gets_wrong_is_told(how: str, concurrency: int) -> None:
    with pytest.raises(EmbeddingError, match="broken gave"):
        Broken(how=how, batch=2, concurrency=concurrency).embed_documents(["a", "b", "c"])


def test_tuning_is_no_part_of_what_it_is() -> None:
    assert Letters(batch=3, concurrency=9).fingerprint == Letters().fingerprint
    assert Letters(dimensions=5).fingerprint != Letters().fingerprint
