"""What embedders behind a model have in common: batches, long texts, shorter vectors."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import Embedder, Side
from rag.errors import ConfigError, EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)


class BatchedEmbedder(Embedder):
    """An embedder that asks a model for some texts at a time.

    ``too_long`` says what becomes of a text that is longer than the model reads: ``split`` embeds
    it in pieces and takes their mean, weighted by their lengths, and says in the log how many
    there were; ``error`` refuses it. No text is ever cut. (Chunks are made to fit: it comes up
    for questions, and for models whose tokens can only be estimated.)

    ``dimensions`` keeps that many leading values of each vector and normalises them anew, for
    models trained to allow it (Matryoshka representation learning). ``batch`` texts are asked for
    at a time, and ``concurrency`` requests made beside each other.
    """

    too_long: Literal["split", "error"] = "split"
    dimensions: int | None = Field(None, ge=1, le=65_536)
    batch: Annotated[int, NotFingerprinted] = Field(32, ge=1, le=10_000)
    concurrency: Annotated[int, NotFingerprinted] = Field(1, ge=1, le=64)

    @abstractmethod
    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """Vectors ``[len(texts), n]`` as the model gives them. Texts are not blank and fit."""

    @property
    def _most_batch_tokens(self) -> int | None:
        """Tokens that a batch may have in all; None for no limit."""
        return None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        return self._all(texts, "document")

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """See `Embedder.embed_query`."""
        vector: NDArray[np.float32] = self._all([text], "query")[0]
        return vector

    def _all(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        pieces, owners, lengths = self._fitting(texts)
        if not pieces:
            return out
        order = sorted(range(len(pieces)), key=lambda i: -lengths[i])  # the like beside the like
        batches = list(self._batches(order, lengths))
        vectors = np.zeros((len(pieces), self.dimension), dtype=np.float32)

        def embed(batch: list[int]) -> None:
            vectors[batch] = self._checked(self._embed([pieces[i] for i in batch], side), batch)

        if self.concurrency == 1 or len(batches) == 1:
            for batch in batches:
                embed(batch)
        else:
            with ThreadPoolExecutor(min(self.concurrency, len(batches))) as threads:
                try:
                    list(threads.map(embed, batches))
                except BaseException:
                    threads.shutdown(wait=True, cancel_futures=True)
                    raise
        weights = np.array(lengths, dtype=np.float32)[:, None]
        np.add.at(out, owners, vectors * weights)
        totals = np.zeros((len(texts), 1), dtype=np.float32)
        np.add.at(totals, owners, weights)
        np.divide(out, totals, out=out, where=totals > 0)
        return normalised(out) if self.similarity == "cosine" else out

    def _fitting(self, texts: Sequence[str]) -> tuple[list[str], list[int], list[int]]:
        """Pieces of the texts that the model reads whole, whose they are, and their lengths."""
        filled = [i for i, text in enumerate(texts) if text and not text.isspace()]
        lengths = self.count_tokens([texts[i] for i in filled])
        most = self.max_tokens
        pieces: list[str] = []
        owners: list[int] = []
        counts: list[int] = []
        too_long = 0
        for i, length in zip(filled, lengths, strict=True):
            if length <= most:
                pieces.append(texts[i])
                owners.append(i)
                counts.append(max(1, length))
                continue
            too_long += 1
            if self.too_long == "error":
                raise EmbeddingError(
                    f"a text has {length:,} tokens, and {self.name} reads {most:,} "
                    "(too_long='split' embeds it in pieces)"
                )
            for piece, count in self._split(texts[i], length, most):
                pieces.append(piece)
                owners.append(i)
                counts.append(max(1, count))
        if too_long:
            _log.warning("%d texts longer than %d tokens were embedded in pieces", too_long, most)
        return pieces, owners, counts

    def _split(self, text: str, length: int, most: int) -> Iterator[tuple[str, int]]:
        """Pieces at white space, of at most `most` tokens."""
        if length <= most:
            if not text.isspace():
                yield text, length
            return
        if len(text) < 2:
            raise EmbeddingError(f"{self.name} reads {most} tokens, and {text!r} has {length}")
        middle = len(text) // 2
        cut = text.rfind(" ", len(text) // 4, middle) + 1 or middle
        halves = [half for half in (text[:cut], text[cut:]) if half.strip()]
        for half, count in zip(halves, self.count_tokens(halves), strict=True):
            yield from self._split(half, count, most)

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        most = self._most_batch_tokens
        batch: list[int] = []
        tokens = 0
        for i in order:
            if batch and (
                len(batch) == self.batch or (most is not None and tokens + lengths[i] > most)
            ):
                yield batch
                batch, tokens = [], 0
            batch.append(i)
            tokens += lengths[i]
        if batch:
            yield batch

    def _checked(self, vectors: NDArray[np.float32], batch: Sequence[int]) -> NDArray[np.float32]:
        """The vectors, as long as they are to be. Raises `EmbeddingError`."""
        import numpy as np

        with np.errstate(over="ignore"):
            vectors = np.asarray(vectors).astype(np.float32)
        if vectors.ndim != 2 or len(vectors) != len(batch):
            raise EmbeddingError(f"{self.name} gave vectors of shape {vectors.shape}")
        if vectors.shape[1] < self.dimension:
            raise EmbeddingError(
                f"{self.name} gave vectors of {vectors.shape[1]} values, not {self.dimension}"
            )
        if not np.isfinite(vectors).all():
            raise EmbeddingError(f"{self.name} gave a vector with NaN or infinity in it")
        if vectors.shape[1] > self.dimension and self.dimensions is None:
            raise EmbeddingError(
                f"{self.name} gave vectors of {vectors.shape[1]} values, not {self.dimension}"
            )
        vectors = vectors[:, : self.dimension]
        return normalised(vectors) if self.similarity == "cosine" else vectors


def room(name: str, most: int, prompts: int) -> int:
    """Tokens of `most` that prompts of so many tokens leave. Raises `ConfigError`."""
    if prompts >= most:
        raise ConfigError(f"{name} reads {most:,} tokens, and its prompt alone has {prompts:,}")
    return most - prompts


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by its length; rows of zeros stay."""
    import numpy as np

    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = np.divide(
        vectors, norms, out=np.zeros_like(vectors), where=norms > 0
    )
    return found
