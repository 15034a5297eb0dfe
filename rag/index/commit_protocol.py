"""Writes to the index, in an order of steps that makes a crash harmless.

The document store (SQLite) decides what the index contains. Vector store and lexical index, the
store set, are built from it. Searches drop every hit whose chunk is not of a *live* document. So
surplus rows in a store set do no harm, but a missing row would hide a document. Hence the order:
rows are added to the store set before their document becomes live, and removed after it is
deleted.

A batch of documents is written in four steps:

1. One transaction writes documents, chunks and new embeddings to the document store; the
   documents are *pending*.
2. The vectors are written to Chroma and the words to tantivy, and committed there.
3. One transaction makes the new documents *live* and the versions they replace *deleted* (on disk
   the state is named ``doomed``).
4. The chunks of deleted documents are removed from Chroma and tantivy, then from the document
   store.

A deletion is a transaction that marks documents as deleted, followed by step 4.

A process that is killed at any point leaves an index that searches can use:

* in step 1: SQLite rolls the transaction back;
* after step 1 or in step 2: pending documents, which searches do not see. `IndexWriter.recover`
  marks them as deleted. Their embeddings stay in the cache, so nothing is embedded twice;
* after step 3 or in step 4: deleted chunks in the store set, which searches drop. They are still
  listed in the document store, so `IndexWriter.recover` repeats step 4.

Changes of the whole index do not modify the store set in use. A rebuild, a re-embedding and the
restore of a snapshot fill a new store set in a new numbered folder, while searches use the old
one. One transaction in the document store then switches to the new number. For a re-embedding,
the same transaction replaces all live documents with the *staged* ones; for a restore, it replaces
the content of the document store with that of the snapshot. A crash before or after the switch
leaves only a folder that is not in use.

The next writer runs `IndexWriter.recover` first: it removes such folders, discards pending
documents, repeats step 4, and rebuilds the store set if its chunk counts are wrong or it cannot be
opened. The vectors for that come from the embedding cache. One process writes at a time
(`rag.index.write_lock`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from rag.component import NotFingerprinted
from rag.embedding.base import Embedder, embedding_span
from rag.errors import EmbeddingError, IndexDamaged
from rag.index.paths import remove_leftovers
from rag.index.store_set import StoreSet, list_store_set_numbers
from rag.stores.sqlite import LedgerEntry, SqliteDocumentStore
from rag.types import Chunk, Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index.index import Index

_CHUNKS_PER_BATCH = 5_000


class ChunkEmbeddings(NamedTuple):
    """Embeddings of chunks, in the same order: text hashes and float32 ``[n, dimension]``.

    ``new_hashes`` are the hashes of the texts that were embedded, as the cache did not have them.
    """

    hashes: Sequence[bytes]
    vectors: NDArray[np.float32]
    new_hashes: frozenset[bytes]


class PreparedDocument(NamedTuple):
    """A document with all that `IndexWriter.write` and `IndexWriter.stage` need."""

    document: Document
    entry: LedgerEntry
    chunks: Sequence[Chunk]
    embeddings: ChunkEmbeddings


class IndexWriter:
    """The single writer of an index; `Index.open_writer` creates it."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._document_store = index.document_store
        self._store_set = index.store_set
        self.has_rebuilt = False
        self._open_clients = ExitStack()  # keeps the vector client open while we write
        self._vector_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="citewell-vectors")

    def close(self) -> None:
        """Stop the worker thread, and release tantivy's write lock and the vector client."""
        self._vector_pool.shutdown()
        try:
            with suppress(IndexDamaged):
                self._store_set.lexical.close()
                self._store_set.vectors.note_written(self._document_store.generation)
        finally:
            self._open_clients.close()

    def recover(self) -> None:
        """Repair what a crash, or a deleted or damaged store set folder left. Embeds nothing.

        See the top of this module. Sets `has_rebuilt` if the store set had to be rebuilt.
        """
        self._remove_leftovers()
        self._document_store.discard_pending()
        self._document_store.discard_staged(self._index.fingerprint)
        if not self._document_store.chunk_count("live"):
            self._store_set.create()
        try:
            self._keep_vector_client()
            self._remove_deleted_chunks()
            live_count = self._document_store.chunk_count()
            is_complete = all(count == live_count for count in self._store_set.counts().values())
        except IndexDamaged:
            is_complete = False
        self.has_rebuilt = not is_complete
        if not is_complete:
            self.rebuild()

    def _keep_vector_client(self) -> None:
        self._open_clients.enter_context(self._store_set.vectors.keep_client())

    def _remove_leftovers(self) -> None:
        """Remove unused store sets, and files of interrupted restores, snapshots and drops."""
        for number in list_store_set_numbers(self._index.path):
            if number != self._store_set.number:
                self._index.open_store_set(number).remove()
        remove_leftovers(self._index.path)

    def embed(self, chunks: Sequence[Chunk]) -> ChunkEmbeddings:
        """Return embeddings of chunks; only texts missing in the cache are embedded.

        Raises `EmbeddingError`.
        """
        import numpy as np

        embedder = self._index.embedder
        hashes = [hash_text(chunk.embedded_text) for chunk in chunks]
        vectors = self._document_store.cached_embeddings(
            self._index.fingerprint, list(dict.fromkeys(hashes))
        )
        missing = {
            text_hash: chunk.embedded_text
            for text_hash, chunk in zip(hashes, chunks, strict=True)
            if text_hash not in vectors
        }
        if missing:
            with embedding_span(embedder, len(missing)):
                new_vectors = embedder.embed_documents(list(missing.values()))
            _check_vectors(new_vectors, len(missing), embedder)
            vectors.update(zip(missing, (vector.tobytes() for vector in new_vectors), strict=True))
        matrix = np.frombuffer(
            b"".join(vectors[text_hash] for text_hash in hashes), dtype=np.float32
        )
        return ChunkEmbeddings(
            hashes, matrix.reshape(len(chunks), embedder.dimension), frozenset(missing)
        )

    def write(self, batch: Sequence[PreparedDocument]) -> None:
        """Write documents and replace their older versions. Searches see all of the batch or none.

        The steps are those at the top of this module.
        """
        import numpy as np

        numbers, rows = self._add_pending(batch)
        chunks = [chunk for prepared in batch for chunk in prepared.chunks]
        if chunks:
            vectors = np.concatenate([prepared.embeddings.vectors for prepared in batch])
            vectors_written = self._vector_pool.submit(
                self._store_vectors, self._store_set, rows, chunks, vectors
            )
            try:
                owners = (
                    number
                    for number, prepared in zip(numbers, batch, strict=True)
                    for _ in prepared.chunks
                )
                self._store_set.lexical.add(
                    (row, owner, chunk.heading_context, chunk.text)
                    for row, owner, chunk in zip(rows, owners, chunks, strict=True)
                )
                self._store_set.lexical.commit()
            finally:
                vectors_written.result()
        self._document_store.make_live(numbers)
        self._remove_deleted_chunks()

    def stage(self, batch: Sequence[PreparedDocument]) -> None:
        """Write documents, embedded with the index's embedder, as staged for `adopt_embedder`."""
        numbers, _ = self._add_pending(batch)
        self._document_store.stage(numbers)

    def _add_pending(self, batch: Sequence[PreparedDocument]) -> tuple[list[int], list[int]]:
        return self._document_store.add_pending(
            [
                (prepared.document, prepared.entry, prepared.chunks, prepared.embeddings.hashes)
                for prepared in batch
            ],
            self._index.fingerprint,
            (
                (text_hash, vector.tobytes())
                for _, _, _, embeddings in batch
                for text_hash, vector in zip(embeddings.hashes, embeddings.vectors, strict=True)
                if text_hash in embeddings.new_hashes
            ),
        )

    def delete(self, uris: Sequence[str]) -> int:
        """Delete the live documents with these uris; return their number."""
        deleted_count = self._document_store.mark_deleted(uris)
        self._remove_deleted_chunks()
        return deleted_count

    def rebuild(self, restored: SqliteDocumentStore | None = None) -> None:
        """Fill a new store set from the document store, switch to it, and remove the old one.

        Only vectors missing in the embedding cache are embedded. With `restored`, the store set is
        filled from that document store, which then replaces the content of the index's own.
        """

        def switch(number: int) -> None:
            if restored is None:
                self._document_store.activate_store_set(number)
            else:
                restored.advance_state(
                    self._document_store.state, number, self._document_store.row_sequences()
                )
                self._document_store.replace_from(restored.path)

        self._replace_store_set(restored or self._document_store, "live", switch)

    def adopt_embedder(self) -> None:
        """End a re-embedding: make the staged documents live, with the index's embedder.

        All documents must be staged.
        """
        note = self._index.embedder_note()
        self._replace_store_set(
            self._document_store,
            "staged",
            lambda number: self._document_store.activate_store_set(number, note),
        )

    def _replace_store_set(
        self, source: SqliteDocumentStore, state: str, switch: Callable[[int], None]
    ) -> None:
        """Fill a new store set from `source`, switch to it, and remove the old one.

        `switch` gets the new number and makes the document store use it, in one transaction.
        """
        used_numbers = [self._store_set.number, *list_store_set_numbers(self._index.path)]
        new_stores = self._index.open_store_set(max(used_numbers) + 1)
        try:
            new_stores.create()
            self._fill_store_set(new_stores, source, state)
            with self._index.pause_new_searches():
                switch(new_stores.number)
                self._open_clients.close()
                old_stores, self._store_set = self._store_set, new_stores
                self._index.use_store_set(new_stores)
                self._keep_vector_client()
        except BaseException:
            if self._document_store.state.store_set_number != new_stores.number:
                new_stores.remove()
            raise
        self._index.open_store_set(old_stores.number).remove()
        self._document_store.remove_deleted_with_chunks()  # the new store set has none of them

    def _fill_store_set(
        self, new_stores: StoreSet, source: SqliteDocumentStore, state: str
    ) -> None:
        """Write the chunks of the documents of `source` in `state` to a new store set."""
        fingerprint = (
            self._index.fingerprint
            if state == "staged"
            else self._index.fingerprint_in(source.state)
        )
        last_row = 0
        while batch := source.chunk_rows_after(state, last_row, _CHUNKS_PER_BATCH):
            last_row = batch[-1][0]
            rows = [row for row, _ in batch]
            chunks = source.chunks(rows, state)
            vector_rows, matrix = source.vectors(rows, fingerprint)
            if lost_rows := sorted(set(rows) - set(vector_rows)):
                if fingerprint != self._index.fingerprint:
                    raise IndexDamaged(
                        f"the document store at {self._index.path} has lost {len(lost_rows):,} "
                        "vectors: run `rag index repair` with the pipeline it was built with"
                    )
                self.embed_again(source, {row: chunks[row] for row in lost_rows})
                vector_rows, matrix = source.vectors(rows, fingerprint)
            self._store_vectors(
                new_stores, vector_rows, [chunks[row] for row in vector_rows], matrix
            )
            new_stores.lexical.add(
                (row, document, chunks[row].heading_context, chunks[row].text)
                for row, document in batch
            )
        new_stores.lexical.commit()
        new_stores.lexical.close()

    def embed_again(self, document_store: SqliteDocumentStore, chunks: Mapping[int, Chunk]) -> None:
        """Embed chunks, by row, whose vectors `document_store` has lost."""
        texts = [chunk.embedded_text for chunk in chunks.values()]
        with embedding_span(self._index.embedder, len(texts)):
            vectors = self._index.embedder.embed_documents(texts)
        _check_vectors(vectors, len(texts), self._index.embedder)
        document_store.replace_embeddings(
            self._index.fingerprint,
            list(chunks),
            [
                (hash_text(text), vector.tobytes())
                for text, vector in zip(texts, vectors, strict=True)
            ],
        )

    def is_embedder_working(self) -> bool:
        """Whether the embedder can embed a short text."""
        try:
            self._index.embedder.embed_documents(["A text to see whether it works."])
        except EmbeddingError:
            return False
        return True

    def _store_vectors(
        self,
        store_set: StoreSet,
        rows: Sequence[int],
        chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
    ) -> None:
        if not self._index.vector_store_config.store_text:
            store_set.vectors.upsert(rows, vectors)
            return
        store_set.vectors.upsert(
            rows,
            vectors,
            texts=[chunk.text for chunk in chunks],
            metadata=[_to_chroma_metadata(chunk) for chunk in chunks],
        )

    def _remove_deleted_chunks(self) -> None:
        while rows := self._document_store.deleted_chunk_rows(_CHUNKS_PER_BATCH):
            self._store_set.vectors.delete(rows)
            self._store_set.lexical.delete(rows)
            self._store_set.lexical.commit()
            self._document_store.remove_chunks(rows)
        self._document_store.remove_deleted_documents()


def describe_embedder(embedder: Embedder) -> str:
    """Return a name of an embedder for people: its registered name and non-default settings."""
    changed_settings: list[str] = []
    for name, field in type(embedder).model_fields.items():
        value = getattr(embedder, name)
        if name in ("model", "path"):
            changed_settings.insert(0, str(value))
        elif (
            value != field.default and NotFingerprinted not in field.metadata and name != "api_key"
        ):
            changed_settings.append(f"{name.replace('_', ' ')} {value}")
    if not changed_settings:
        return embedder.name
    return f"{embedder.name} ({', '.join(changed_settings)})"


def hash_text(text: str) -> bytes:
    """Return the key of a text in the embedding cache: its BLAKE2b hash of 16 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _check_vectors(vectors: NDArray[np.float32], count: int, embedder: Embedder) -> None:
    import numpy as np

    if vectors.shape != (count, embedder.dimension):
        raise EmbeddingError(
            f"{describe_embedder(embedder)} returned vectors of shape {vectors.shape}, "
            f"not ({count}, {embedder.dimension})"
        )
    if not np.isfinite(vectors).all():
        raise EmbeddingError(
            f"{describe_embedder(embedder)} returned a vector with NaN or infinity"
        )


def _to_chroma_metadata(chunk: Chunk) -> dict[str, object]:
    fields = {f"meta.{key}": value for key, value in chunk.metadata.items() if value != ()}
    fields |= {
        "id": chunk.id,
        "uri": chunk.uri,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
    }
    return {key: _to_chroma_value(value) for key, value in fields.items()}


def _to_chroma_value(value: object) -> object:
    """Return a metadata value that Chroma accepts: its lists must have items of one type.

    The caller leaves out empty lists, which Chroma rejects.
    """
    if not isinstance(value, tuple):
        return value
    return list(value) if len({type(item) for item in value}) == 1 else [str(v) for v in value]
