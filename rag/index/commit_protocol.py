"""Writing to the index: the order of things that makes a crash harmless (see `rag.index.index`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from rag.component import NotFingerprinted
from rag.embedding.base import Embedder, embedding
from rag.errors import EmbeddingError, IndexDamaged
from rag.index.paths import remove_leftovers
from rag.index.store_set import StoreSet, numbers
from rag.stores.sqlite import LedgerEntry, SqliteDocumentStore
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
        self._library = index.document_store
        self._derived = index.stores
        self.rebuilt = False
        self._held = ExitStack()  # what keeps the stores open as they are while they are written
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="citewell-vectors")

    def close(self) -> None:
        """Let go of the threads and of tantivy's own lock."""
        self._pool.shutdown()
        with suppress(IndexDamaged):
            self._derived.lexical.close()
            self._derived.vectors.wrote(self._library.generation)
        self._held.close()

    def heal(self) -> None:
        """Put right what a crash, a deleted folder or a damaged one left behind; embeds nothing."""
        self._remove_leftovers()
        self._library.discard_pending()
        self._library.discard_staged(self._index.fingerprint)
        if not self._library.chunk_count("live"):
            self._derived.create()
        try:
            self._hold()
            self._purge()
            live = self._library.chunk_count()
            whole = all(count == live for count in self._derived.counts().values())
        except IndexDamaged:
            whole = False
        self.rebuilt = not whole
        if not whole:
            self.rebuild()

    def _hold(self) -> None:
        self._held.enter_context(self._derived.vectors.writing())

    def _remove_leftovers(self) -> None:
        """Throw away sets of stores that were being filled, or should have been removed."""
        for number in numbers(self._index.path):
            if number != self._derived.number:
                self._index.open_store_set(number).remove()
        remove_leftovers(self._index.path)

    def embed(self, chunks: Sequence[Chunk]) -> Embedded:
        """Embed chunks; those texts only that the cache does not have. Raises `EmbeddingError`."""
        import numpy as np

        embedder = self._index.embedder
        hashes = [text_hash(chunk.embedded_text) for chunk in chunks]
        vectors = self._library.cached_embeddings(
            self._index.fingerprint, list(dict.fromkeys(hashes))
        )
        missing = {
            name: chunk.embedded_text
            for name, chunk in zip(hashes, chunks, strict=True)
            if name not in vectors
        }
        if missing:
            with embedding(embedder, len(missing)):
                fresh = embedder.embed_documents(list(missing.values()))
            _check_vectors(fresh, len(missing), embedder)
            vectors.update(zip(missing, (vector.tobytes() for vector in fresh), strict=True))
        matrix = np.frombuffer(b"".join(vectors[h] for h in hashes), dtype=np.float32)
        return Embedded(hashes, matrix.reshape(len(chunks), embedder.dimension), frozenset(missing))

    def write(self, batch: Sequence[Prepared]) -> None:
        """Write documents in place of their older versions; all of them, or none is seen."""
        import numpy as np

        numbers, rows = self._add_pending(batch)
        chunks = [chunk for p in batch for chunk in p.chunks]
        if chunks:
            vectors = np.concatenate([p.embedded.vectors for p in batch])
            stored = self._pool.submit(self._store_vectors, self._derived, rows, chunks, vectors)
            try:
                owners = (n for n, p in zip(numbers, batch, strict=True) for _ in p.chunks)
                self._derived.lexical.add(
                    (row, owner, chunk.heading_context, chunk.text)
                    for row, owner, chunk in zip(rows, owners, chunks, strict=True)
                )
                self._derived.lexical.commit()
            finally:
                stored.result()
        self._library.make_live(numbers)
        self._purge()

    def stage(self, batch: Sequence[Prepared]) -> None:
        """Keep documents, embedded with the index's embedder, until that takes over."""
        numbers, _ = self._add_pending(batch)
        self._library.stage(numbers)

    def _add_pending(self, batch: Sequence[Prepared]) -> tuple[list[int], list[int]]:
        return self._library.add_pending(
            [(p.document, p.entry, p.chunks, p.embedded.hashes) for p in batch],
            self._index.fingerprint,
            (
                (name, vector.tobytes())
                for p in batch
                for name, vector in zip(p.embedded.hashes, p.embedded.vectors, strict=True)
                if name in p.embedded.new
            ),
        )

    def delete(self, uris: Sequence[str]) -> int:
        """Delete documents; returns how many there were."""
        doomed = self._library.mark_deleted(uris)
        self._purge()
        return doomed

    def rebuild(self, library: SqliteDocumentStore | None = None) -> None:
        """Fill a new set of stores from the library, switch over to it, and remove the old one.

        Nothing is embedded but what the cache has lost. With another `library` the stores are
        filled from that one, which then takes the place of the index's own.
        """

        def switch(number: int) -> None:
            if library is None:
                self._library.activate_stores(number)
            else:
                library.advance_state(self._library.state, number, self._library.row_sequences())
                self._library.replace_from(library.path)

        self._replace(library or self._library, "live", switch)

    def adopt_embedder(self) -> None:
        """Let the embedder of this index take over: all documents are staged, and become live."""
        note = self._index.embedder_note()
        self._replace(
            self._library, "staged", lambda number: self._library.activate_stores(number, note)
        )

    def _replace(
        self, library: SqliteDocumentStore, state: str, switch: Callable[[int], None]
    ) -> None:
        """Fill new stores, let the library and the searches pass to them, remove the old ones."""
        taken = [self._derived.number, *numbers(self._index.path)]
        fresh = self._index.open_store_set(max(taken) + 1)
        try:
            fresh.create()
            self._fill(fresh, library, state)
            with self._index.switching():
                switch(fresh.number)
                self._held.close()
                old, self._derived = self._derived, fresh
                self._index.use_stores(fresh)
                self._hold()
        except BaseException:
            if self._library.state.derived != fresh.number:
                fresh.remove()
            raise
        self._index.open_store_set(old.number).remove()
        self._library.remove_deleted()  # none of it is in the new stores

    def _fill(self, fresh: StoreSet, library: SqliteDocumentStore, state: str) -> None:
        """Write the chunks of the documents in `state` into new stores."""
        fingerprint = (
            self._index.fingerprint
            if state == "staged"
            else self._index.fingerprint_in(library.state)
        )
        after = 0
        while batch := library.chunk_rows_after(state, after, _MANY):
            after = batch[-1][0]
            rows = [row for row, _ in batch]
            chunks = library.chunks(rows, state)
            found, matrix = library.vectors(rows, fingerprint)
            if lost := sorted(set(rows) - set(found)):
                if fingerprint != self._index.fingerprint:
                    raise IndexDamaged(
                        f"the library at {self._index.path} has lost {len(lost):,} vectors: repair "
                        "it with the pipeline it was built with (`rag index repair`)"
                    )
                self.embed_again(library, {row: chunks[row] for row in lost})
                found, matrix = library.vectors(rows, fingerprint)
            self._store_vectors(fresh, found, [chunks[row] for row in found], matrix)
            fresh.lexical.add(
                (row, document, chunks[row].heading_context, chunks[row].text)
                for row, document in batch
            )
        fresh.lexical.commit()
        fresh.lexical.close()

    def embed_again(self, library: SqliteDocumentStore, chunks: Mapping[int, Chunk]) -> None:
        """Embed chunks, by row, whose vectors `library` has lost."""
        texts = [chunk.embedded_text for chunk in chunks.values()]
        with embedding(self._index.embedder, len(texts)):
            vectors = self._index.embedder.embed_documents(texts)
        _check_vectors(vectors, len(texts), self._index.embedder)
        library.replace_embeddings(
            self._index.fingerprint,
            list(chunks),
            [(text_hash(t), v.tobytes()) for t, v in zip(texts, vectors, strict=True)],
        )

    def works(self) -> bool:
        """Whether the embedder embeds anything at all."""
        try:
            self._index.embedder.embed_documents(["A text to see whether it works."])
        except EmbeddingError:
            return False
        return True

    def _store_vectors(
        self,
        stores: StoreSet,
        rows: Sequence[int],
        chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
    ) -> None:
        if not self._index.vector_store_config.store_text:
            stores.vectors.upsert(rows, vectors)
            return
        stores.vectors.upsert(
            rows,
            vectors,
            texts=[chunk.text for chunk in chunks],
            metadata=[_chroma_metadata(chunk) for chunk in chunks],
        )

    def _purge(self) -> None:
        while rows := self._library.deleted_chunk_rows(_MANY):
            self._derived.vectors.delete(rows)
            self._derived.lexical.delete(rows)
            self._derived.lexical.commit()
            self._library.remove_chunks(rows)
        self._library.remove_deleted_documents()


def describe(embedder: Embedder) -> str:
    """Name an embedder for people: its registered name, and what is not as usual."""
    changed: list[str] = []
    for name, field in type(embedder).model_fields.items():
        value = getattr(embedder, name)
        if name in ("model", "path"):
            changed.insert(0, str(value))
        elif (
            value != field.default and NotFingerprinted not in field.metadata and name != "api_key"
        ):
            changed.append(f"{name.replace('_', ' ')} {value}")
    return f"{embedder.name} ({', '.join(changed)})" if changed else embedder.name


def text_hash(text: str) -> bytes:
    """Name of a text in the embedding cache: 16 bytes."""
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
    fields |= {
        "id": chunk.id,
        "uri": chunk.uri,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
    }
    return {key: _chroma_value(value) for key, value in fields.items()}


def _chroma_value(value: object) -> object:
    """Lists must be of one type for Chroma, and not be empty."""
    if not isinstance(value, tuple):
        return value
    return list(value) if len({type(item) for item in value}) == 1 else [str(v) for v in value]
