"""Writing to the index: the order of things that makes a crash harmless (see `rag.index.index`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from rag.embedding.base import Embedder
from rag.errors import EmbeddingError
from rag.index.library import LedgerEntry
from rag.types import Chunk, Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index.index import Index

_MANY = 5_000  # chunks removed or rebuilt at a time


class Embedded(NamedTuple):
    """Embeddings of some chunks, in their order: text hashes, and float32 ``[n, dimension]``.

    ``new`` are the hashes of texts that were not in the cache and had to be embedded.
    """

    hashes: Sequence[bytes]
    vectors: NDArray[np.float32]
    new: frozenset[bytes]


class Prepared(NamedTuple):
    """A document ready to be written, with the ledger entry it gets."""

    document: Document
    entry: LedgerEntry
    chunks: Sequence[Chunk]
    embedded: Embedded


class Writer:
    """The one who may write to an index; made by `Index.writing`."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._library = index.library
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="citewell-vectors")

    def close(self) -> None:
        """Let go of the threads and of tantivy's own lock."""
        self._pool.shutdown()
        self._index.lexical.close()

    def heal(self) -> None:
        """Put right what a crash, a deleted folder or a damaged one left behind; embeds nothing."""
        self._library.doom_pending()
        self._purge()
        live = self._library.live_chunk_count()
        if self._index.vectors.count() < live or self._index.lexical.count() < live:
            self._rebuild()

    def embed(self, chunks: Sequence[Chunk]) -> Embedded:
        """Embed chunks; those texts only that the cache does not have. Raises `EmbeddingError`."""
        import numpy as np

        embedder = self._index.embedder
        hashes = [_hash(chunk.embedded_text) for chunk in chunks]
        vectors = self._library.cached_embeddings(embedder.fingerprint, list(dict.fromkeys(hashes)))
        missing = {
            text_hash: chunk.embedded_text
            for text_hash, chunk in zip(hashes, chunks, strict=True)
            if text_hash not in vectors
        }
        if missing:
            fresh = embedder.embed_documents(list(missing.values()))
            _check_vectors(fresh, len(missing), embedder)
            vectors.update(zip(missing, (vector.tobytes() for vector in fresh), strict=True))
        matrix = np.frombuffer(b"".join(vectors[h] for h in hashes), dtype=np.float32)
        return Embedded(hashes, matrix.reshape(len(chunks), embedder.dimension), frozenset(missing))

    def write(self, batch: Sequence[Prepared]) -> None:
        """Write documents in place of their older versions; all of them, or none is seen."""
        import numpy as np

        numbers, rows = self._library.add_pending(
            [(p.document, p.entry, p.chunks, p.embedded.hashes) for p in batch],
            self._index.embedder.fingerprint,
            (
                (text_hash, vector.tobytes())
                for p in batch
                for text_hash, vector in zip(p.embedded.hashes, p.embedded.vectors, strict=True)
                if text_hash in p.embedded.new
            ),
        )
        chunks = [chunk for p in batch for chunk in p.chunks]
        if chunks:
            vectors = np.concatenate([p.embedded.vectors for p in batch])
            stored = self._pool.submit(self._store_vectors, chunks, vectors)
            try:
                owners = (n for n, p in zip(numbers, batch, strict=True) for _ in p.chunks)
                self._index.lexical.add(
                    (row, owner, chunk.embedded_text)
                    for row, owner, chunk in zip(rows, owners, chunks, strict=True)
                )
                self._index.lexical.commit()
            finally:
                stored.result()
        self._library.make_live(numbers)
        self._purge()

    def delete(self, uris: Sequence[str]) -> int:
        """Delete documents; returns how many there were."""
        doomed = self._library.doom(uris)
        self._purge()
        return doomed

    def _store_vectors(self, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> None:
        if not self._index.store_text:
            self._index.vectors.upsert([chunk.id for chunk in chunks], vectors)
            return
        self._index.vectors.upsert(
            [chunk.id for chunk in chunks],
            vectors,
            texts=[chunk.text for chunk in chunks],
            metadata=[_chroma_metadata(chunk) for chunk in chunks],
        )

    def _purge(self) -> None:
        while doomed := self._library.doomed(_MANY):
            rows = [row for row, _, _ in doomed]
            self._index.vectors.delete([name for _, name, _ in doomed])
            self._index.lexical.delete(rows)
            self._index.lexical.commit()
            self._library.remove_chunks(rows)
        self._library.remove_doomed()

    def _rebuild(self) -> None:
        """Fill the derived stores from the library."""
        after = 0
        fingerprint = self._index.embedder.fingerprint
        while batch := self._library.live_chunks(after, _MANY):
            after = batch[-1][0]
            rows = [row for row, _ in batch]
            chunks = self._library.chunks(rows)
            found, matrix = self._library.vectors(rows, fingerprint)
            self._store_vectors([chunks[row] for row in found], matrix)
            self._index.lexical.delete(rows)
            self._index.lexical.add(
                (row, document, chunks[row].embedded_text) for row, document in batch
            )
            self._index.lexical.commit()


def describe(embedder: Embedder) -> str:
    """Name an embedder for people: its registered name, and its model where it has one."""
    model = embedder.config().get("model")
    return f"{embedder.name} ({model})" if model else embedder.name


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _check_vectors(vectors: NDArray[np.float32], count: int, embedder: Embedder) -> None:
    import numpy as np

    if vectors.shape != (count, embedder.dimension):
        raise EmbeddingError(
            f"{describe(embedder)} gave vectors of shape {vectors.shape}, "
            f"not ({count}, {embedder.dimension})"
        )
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{describe(embedder)} gave a vector with NaN or infinity in it")


def _chroma_metadata(chunk: Chunk) -> dict[str, object]:
    fields = {f"meta.{key}": value for key, value in chunk.metadata.items() if value != ()}
    fields |= {"uri": chunk.uri, "title": chunk.title, "start": chunk.start, "end": chunk.end}
    return {key: _chroma_value(value) for key, value in fields.items()}


def _chroma_value(value: object) -> object:
    """Lists must be of one type for Chroma, and not be empty."""
    if not isinstance(value, tuple):
        return value
    return list(value) if len({type(item) for item in value}) == 1 else [str(v) for v in value]
