"""The base of embedders that call a model: batches, long texts, shorter vectors."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import Embedder, Side
from rag.errors import ConfigError, EmbeddingError
from rag.types.base import to_well_formed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)


class BatchedEmbedder(Embedder):
    """An embedder that calls a model with batches of texts.

    ``too_long`` decides about a text above the input limit of the model. ``split`` embeds it in
    pieces and averages their vectors, weighted by length; a log message counts such texts.
    ``error`` refuses it. No text is ever truncated. Chunks fit the limit, so this concerns
    questions, and models whose tokens can only be estimated.

    ``dimensions`` keeps the first values of each vector and normalizes them again, for models
    trained for that (Matryoshka representation learning). ``batch`` is the number of texts per
    request, and ``concurrency`` the number of parallel requests.
    """

    too_long: Literal["split", "error"] = "split"
    dimensions: int | None = Field(None, ge=1, le=65_536)
    batch: Annotated[int, NotFingerprinted] = Field(32, ge=1, le=10_000)
    concurrency: Annotated[int, NotFingerprinted] = Field(1, ge=1, le=64)

    @abstractmethod
    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """Return vectors ``[len(texts), n]`` of the model. No text is blank, and all texts fit."""

    @property
    def _max_batch_tokens(self) -> int | None:
        """Limit of the tokens in one batch; None for no limit."""
        return None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        return self._embed_all(texts, "document")

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_queries`."""
        return self._embed_all(texts, "query")

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """See `Embedder.embed_query`."""
        vector: NDArray[np.float32] = self._embed_all([text], "query")[0]
        return vector

    def embed_in_parts(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """See `Embedder.embed_in_parts`."""
        return self._embed_in_parts(texts, "document")

    def _embed_all(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for indices, part in self._embed_in_parts(texts, side):
            vectors[indices] = part
        return vectors

    def _embed_in_parts(
        self, texts: Sequence[str], side: Side
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield the vectors of the texts whose last piece is embedded; of blank texts, zeros."""
        import numpy as np

        texts = [to_well_formed(text) for text in texts]
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        pieces, owners, lengths = self._split_texts(texts)
        missing_counts = Counter(owners)
        blank = [i for i in range(len(texts)) if i not in missing_counts]
        yield blank, sums[blank]
        totals = np.zeros((len(texts), 1), dtype=np.float32)
        order = sorted(range(len(pieces)), key=lambda i: -lengths[i])  # the like beside the like
        batches = list(self._batches(order, lengths))
        for batch, vectors in self._embed_batches(batches, pieces, side):
            for i, vector in zip(batch, vectors, strict=True):
                sums[owners[i]] += vector * np.float32(lengths[i])
                totals[owners[i]] += lengths[i]
            missing_counts.subtract(owners[i] for i in batch)
            done = sorted({owners[i] for i in batch if not missing_counts[owners[i]]})
            means = sums[done] / totals[done]
            yield done, normalize(means) if self.similarity == "cosine" else means

    def _embed_batches(
        self, batches: Sequence[list[int]], pieces: Sequence[str], side: Side
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield each batch with its vectors, in the order in which they are there.

        After an error, no further batch is begun, and those that run are waited for and yielded.
        """

        def embed(batch: list[int]) -> NDArray[np.float32]:
            return self._check_vectors(self._embed([pieces[i] for i in batch], side), batch)

        if self.concurrency == 1 or len(batches) <= 1:
            for batch in batches:
                yield batch, embed(batch)
            return
        errors: list[BaseException] = []
        with ThreadPoolExecutor(min(self.concurrency, len(batches))) as threads:
            batch_of = {threads.submit(embed, batch): batch for batch in batches}
            try:
                for future in as_completed(batch_of):
                    if future.cancelled():
                        continue
                    if error := future.exception():
                        errors.append(error)
                        for other in batch_of:
                            other.cancel()
                        continue
                    yield batch_of[future], future.result()
            except BaseException:
                threads.shutdown(wait=True, cancel_futures=True)
                raise
        if errors:
            raise errors[0]

    def _split_texts(self, texts: Sequence[str]) -> tuple[list[str], list[int], list[int]]:
        """Return pieces that fit the model, the index of each piece's text, and their lengths."""
        non_blank = [i for i, text in enumerate(texts) if text and not text.isspace()]
        lengths = self.count_tokens([texts[i] for i in non_blank])
        max_tokens = self.max_tokens
        pieces: list[str] = []
        owners: list[int] = []
        counts: list[int] = []
        long_text_count = 0
        for i, length in zip(non_blank, lengths, strict=True):
            if length <= max_tokens:
                pieces.append(texts[i])
                owners.append(i)
                counts.append(max(1, length))
                continue
            long_text_count += 1
            if self.too_long == "error":
                raise self._make_error(
                    f"a text has {length:,} tokens, and {self.name} reads {max_tokens:,} "
                    "(too_long='split' embeds it in pieces)"
                )
            for piece, count in self._split_text(texts[i], length, max_tokens):
                pieces.append(piece)
                owners.append(i)
                counts.append(max(1, count))
        if long_text_count:
            _log.warning(
                "%d texts longer than %d tokens were embedded in pieces",
                long_text_count,
                max_tokens,
            )
        return pieces, owners, counts

    def _split_text(self, text: str, length: int, max_tokens: int) -> Iterator[tuple[str, int]]:
        """Split a text at white space into pieces of at most `max_tokens` tokens."""
        if length <= max_tokens:
            if not text.isspace():
                yield text, length
            return
        if len(text) < 2:
            raise self._make_error(
                f"{self.name} reads {max_tokens} tokens, and {text!r} has {length}"
            )
        middle = len(text) // 2
        cut = text.rfind(" ", len(text) // 4, middle) + 1 or middle
        halves = [half for half in (text[:cut], text[cut:]) if half.strip()]
        for half, count in zip(halves, self.count_tokens(halves), strict=True):
            yield from self._split_text(half, count, max_tokens)

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        max_batch_tokens = self._max_batch_tokens
        batch: list[int] = []
        tokens = 0
        for i in order:
            if batch and (
                len(batch) == self.batch
                or (max_batch_tokens is not None and tokens + lengths[i] > max_batch_tokens)
            ):
                yield batch
                batch, tokens = [], 0
            batch.append(i)
            tokens += lengths[i]
        if batch:
            yield batch

    def _check_vectors(
        self, vectors: NDArray[np.float32], batch: Sequence[int]
    ) -> NDArray[np.float32]:
        """Check shape and values, and shorten the vectors to `dimension`.

        Raises `EmbeddingError`.
        """
        import numpy as np

        with np.errstate(over="ignore"):
            vectors = np.asarray(vectors).astype(np.float32)
        if vectors.ndim != 2 or len(vectors) != len(batch):
            raise self._make_error(f"{self.name} gave vectors of shape {vectors.shape}")
        if vectors.shape[1] < self.dimension:
            raise self._make_error(
                f"{self.name} gave vectors of {vectors.shape[1]} values, not {self.dimension}"
            )
        if not np.isfinite(vectors).all():
            raise self._make_error(f"{self.name} gave a vector with NaN or infinity in it")
        if vectors.shape[1] > self.dimension and self.dimensions is None:
            raise self._make_error(
                f"{self.name} gave vectors of {vectors.shape[1]} values, not {self.dimension}"
            )
        vectors = vectors[:, : self.dimension]
        return normalize(vectors) if self.similarity == "cosine" else vectors

    def _make_error(self, message: str) -> EmbeddingError:
        return EmbeddingError(message, model=str(getattr(self, "model", self.name)))


def tokens_without_prompt(name: str, max_tokens: int, prompt_tokens: int) -> int:
    """Return how many of `max_tokens` a prompt of `prompt_tokens` leaves. Raises `ConfigError`."""
    if prompt_tokens >= max_tokens:
        raise ConfigError(
            f"{name} reads {max_tokens:,} tokens, and its prompt alone has {prompt_tokens:,}"
        )
    return max_tokens - prompt_tokens


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each row by its Euclidean length. Rows of zeros stay zero."""
    import numpy as np

    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    vectors = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalized: NDArray[np.float32] = np.divide(
        vectors, norms, out=np.zeros_like(vectors), where=norms > 0
    )
    return normalized
