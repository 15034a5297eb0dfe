"""Writes to the index, in an order of steps that makes a crash harmless.

The document store decides what the index contains. Vector store and lexical index, the
store set, are built from it. Searches drop every hit whose chunk is not of a *live* document. So
surplus rows in a store set do no harm, but a missing row would hide a document. Hence the order:
rows are added to the store set before their document becomes live, and removed after it is
deleted.

A batch of documents is written in four steps:

1. One transaction writes documents, chunks and new embeddings to the document store; the
   documents are *pending*.
2. The vectors are written to the vector store and the words to the lexical index, and committed
   there.
3. One transaction makes the new documents *live* and the versions they replace *deleted*.
4. The chunks of deleted documents are removed from the vector store and the lexical index, then
   from the document store.

A deletion is a transaction that marks documents as deleted, followed by step 4.

At the end of a session, the lexical index may be filled again from the live chunks, because deleted
ones affect its scores (`IndexWriter.merge_lexical_index`). One commit replaces its contents.

A process that is killed at any point leaves an index that searches can use:

* in step 1: the document store rolls the transaction back;
* after step 1 or in step 2: pending documents, which searches do not see. `IndexWriter.recover`
  marks them as deleted. Their embeddings stay in the cache, so nothing is embedded twice;
* after step 3 or in step 4: deleted chunks in the store set, which searches drop. They are still
  listed in the document store, so `IndexWriter.recover` repeats step 4.

Changes of the whole index do not modify the store set in use. A rebuild, a re-embedding and the
restore of a snapshot fill a new store set under a new number, while searches use the old one. One
transaction in the document store then switches to the new number. For a re-embedding, the same
transaction replaces all live documents with the *staged* ones; for a restore, it replaces them
with those of the snapshot, which were written as *pending*. A crash before or after the switch
leaves only a store set that is not in use, and pending or deleted documents.

The next writer runs `IndexWriter.recover` first: it removes such folders, discards pending
documents, repeats step 4, and rebuilds the store set if its chunk counts are wrong or it cannot be
opened. The vectors for that come from the embedding cache. One process writes at a time
(`rag.index.write_lock`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from rag.call_context import check_limits
from rag.component import NotFingerprinted
from rag.embedding.base import Embedder, embedding_span
from rag.errors import EmbeddingError, IndexDamaged, RagError
from rag.index.paths import remove_leftovers
from rag.index.store_set import StoreSet, list_store_set_numbers
from rag.stores.document_store import (
    DocumentState,
    DocumentStore,
    PendingDocument,
    hash_text,
    iterate_pending_documents,
)
from rag.stores.lexical_index import LexicalEntry
from rag.types import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index.index import Index

_CHUNKS_PER_BATCH = 5_000
_TEXTS_PER_LOCAL_CALL = 1_024  # of a local embedder, between two checks of limits
_MAX_DELETED_SHARE = 0.25  # of the live chunks, in a lexical index that counts deleted ones
_MAX_CHUNKS_TO_MERGE_ALWAYS = 1_000  # a lexical index of this size is filled in a moment


class EmbeddedChunks(NamedTuple):
    """Embeddings of chunks, in the same order: text hashes and float32 ``[n, dimension]``.

    ``new_hashes`` are the hashes of the texts that were embedded, as the cache did not have them.
    """

    hashes: Sequence[bytes]
    vectors: NDArray[np.float32]
    new_hashes: frozenset[bytes]


class IndexWriter:
    """The single writer of an index; `Index.open_writer` creates it."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._document_store = index.document_store
        self._store_set = index.store_set
        self.has_rebuilt = False
        self._vector_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="citewell-vectors")

    def close(self) -> None:
        """Stop the worker thread, and end the write sessions of the stores."""
        self._vector_pool.shutdown()
        with suppress(IndexDamaged):
            try:
                self._store_set.lexical.end_writing()
            finally:
                self._store_set.vectors.end_writing(self._document_store.generation)

    def recover(self) -> None:
        """Repair what a crash, or a deleted or damaged store set folder left. Embeds nothing.

        See the top of this module. Sets `has_rebuilt` if the store set had to be rebuilt; this is
        also done for a lexical index of an earlier version.
        """
        self._remove_leftovers()
        self._document_store.discard("pending")
        self._document_store.discard("staged", except_embedder=self._index.fingerprint)
        if not self._document_store.chunk_count("live"):
            self._store_set.create()
        try:
            self._store_set.vectors.begin_writing()
            self._remove_deleted_chunks()
            live_count = self._document_store.chunk_count()
            is_complete = all(count == live_count for count in self._store_set.counts().values())
            is_complete &= not self._store_set.lexical.is_outdated
        except IndexDamaged:
            is_complete = False
        self.has_rebuilt = not is_complete
        if not is_complete:
            self.rebuild()

    def _remove_leftovers(self) -> None:
        """Remove unused store sets, and files of interrupted restores, snapshots and drops."""
        for number in list_store_set_numbers(self._index.path):
            if number != self._store_set.number:
                self._index.open_store_set(number).remove()
        remove_leftovers(self._index.path)

    def embed(self, chunks: Sequence[Chunk]) -> EmbeddedChunks:
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
                vectors |= self._embed_texts(missing)
        matrix = np.frombuffer(
            b"".join(vectors[text_hash] for text_hash in hashes), dtype=np.float32
        )
        return EmbeddedChunks(
            hashes, matrix.reshape(len(chunks), embedder.dimension), frozenset(missing)
        )

    def _embed_texts(self, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Return the vector of each text, by its hash.

        Those of a remote embedder are kept at once: if a later request fails, they stay paid for.
        """
        embedder = self._index.embedder
        vectors: dict[bytes, bytes] = {}
        size = len(texts) if embedder.is_remote else _TEXTS_PER_LOCAL_CALL
        remaining = iter(texts)
        while hashes := list(islice(remaining, size)):
            check_limits()
            for indices, part in embedder.embed_in_parts([texts[h] for h in hashes]):
                _check_vectors(part, len(indices), embedder)
                if not indices:
                    continue
                self._index.check_vector_length(part.shape[1])
                new = {hashes[i]: vector.tobytes() for i, vector in zip(indices, part, strict=True)}
                if embedder.is_remote:
                    self._document_store.add_embeddings(self._index.fingerprint, new.items())
                vectors |= new
        return vectors

    def write(self, batch: Sequence[PendingDocument]) -> None:
        """Write documents and replace their older versions. Searches see all of the batch or none.

        The steps are those at the top of this module.
        """
        import numpy as np

        numbers, rows = self._document_store.add_pending(batch, self._index.fingerprint)
        chunks = [chunk for pending in batch for chunk in pending.chunks]
        if chunks:
            owners = [
                number
                for number, pending in zip(numbers, batch, strict=True)
                for _ in pending.chunks
            ]
            vectors = np.concatenate([pending.vectors for pending in batch])
            vectors_written = self._vector_pool.submit(
                copy_context().run, self._store_set.vectors.upsert, rows, owners, vectors, chunks
            )
            try:
                self._store_set.lexical.add(
                    LexicalEntry(row, owner, chunk.heading_context, chunk.text)
                    for row, owner, chunk in zip(rows, owners, chunks, strict=True)
                )
                self._store_set.lexical.commit()
            finally:
                vectors_written.result()
        self._document_store.make_live(numbers)
        self._remove_deleted_chunks()

    def stage(self, batch: Sequence[PendingDocument]) -> None:
        """Write documents, embedded with the index's embedder, as staged for `adopt_embedder`."""
        numbers, _ = self._document_store.add_pending(batch, self._index.fingerprint)
        self._document_store.stage(numbers)

    def delete(self, uris: Sequence[str]) -> int:
        """Delete the live documents with these uris; return their number."""
        deleted_count = self._document_store.mark_deleted(uris)
        self._remove_deleted_chunks()
        return deleted_count

    def rebuild(self) -> None:
        """Fill a new store set from the document store, switch to it, and remove the old one.

        Only vectors missing in the embedding cache are embedded.
        """
        self._replace_store_set("live", self._document_store.activate_store_set)

    def adopt_embedder(self) -> None:
        """End a re-embedding: make the staged documents live, with the index's embedder.

        All documents must be staged.
        """
        note = self._index.embedder_note()
        self._replace_store_set(
            "staged",
            lambda number: self._document_store.activate_store_set(number, note, "staged"),
        )

    def restore(self, source: DocumentStore) -> None:
        """Replace all documents with those of `source`, at once; nothing is embedded.

        The index then has the embedder of `source`.
        """
        fingerprint = source.state.embedder_fingerprint
        try:
            for batch in iterate_pending_documents(source, fingerprint):
                self._document_store.add_pending(batch, fingerprint)
            self._replace_store_set(
                "pending",
                lambda number: self._document_store.activate_store_set(
                    number, source.state.embedder, "pending"
                ),
                fingerprint,
            )
        except BaseException:
            with suppress(RagError):  # otherwise the next writer does it
                self._document_store.discard("pending")
                self._document_store.remove_deleted_with_chunks()
            raise
        self._document_store.delete_failures([f.uri for f in self._document_store.failures()])
        self._document_store.record_failures(source.failures())

    def _replace_store_set(
        self, state: DocumentState, switch: Callable[[int], None], fingerprint: str | None = None
    ) -> None:
        """Fill a new store set with the documents in `state`, switch to it, remove the old one.

        `switch` gets the new number and makes the document store use it, in one transaction.
        """
        used_numbers = [self._store_set.number, *list_store_set_numbers(self._index.path)]
        new_stores = self._index.open_store_set(max(used_numbers) + 1)
        try:
            new_stores.create()
            new_stores.vectors.begin_writing()
            self._fill_store_set(new_stores, state, fingerprint)
            with self._index.pause_new_searches():
                switch(new_stores.number)
                old_stores, self._store_set = self._store_set, new_stores
                with suppress(IndexDamaged):
                    old_stores.vectors.end_writing(self._document_store.generation)
                self._index.use_store_set(new_stores)
        except BaseException:
            if self._document_store.state.store_set_number != new_stores.number:
                new_stores.remove()
            raise
        self._index.open_store_set(old_stores.number).remove()
        self._document_store.remove_deleted_with_chunks()  # the new store set has none of them

    def _fill_store_set(
        self, new_stores: StoreSet, state: DocumentState, fingerprint: str | None
    ) -> None:
        """Write the chunks of the documents in `state` to a new store set."""
        document_store = self._document_store
        if fingerprint is None:
            fingerprint = (
                self._index.fingerprint
                if state == "staged"
                else document_store.state.embedder_fingerprint
            )
        last_row = 0
        while batch := document_store.chunk_rows_after(state, last_row, _CHUNKS_PER_BATCH):
            rows = [chunk_row.row for chunk_row in batch]
            last_row = rows[-1]
            vector_rows, _ = document_store.vectors(rows, fingerprint)
            if lost_rows := sorted(set(rows) - set(vector_rows)):
                if fingerprint != self._index.fingerprint:
                    raise IndexDamaged(
                        f"the document store at {self._index.path} has lost {len(lost_rows):,} "
                        "vectors: run `rag index repair` with the pipeline it was built with",
                        path=self._index.path,
                    )
                self.embed_again(document_store.chunks(lost_rows, state))
            new_stores.write_rows(rows, document_store, fingerprint, state)
        new_stores.lexical.commit()
        new_stores.lexical.end_writing()

    def embed_again(self, chunks: Mapping[int, Chunk]) -> None:
        """Embed chunks, by row, whose vectors the document store has lost."""
        texts = [chunk.embedded_text for chunk in chunks.values()]
        with embedding_span(self._index.embedder, len(texts)):
            vectors = self._index.embedder.embed_documents(texts)
        _check_vectors(vectors, len(texts), self._index.embedder)
        self._document_store.replace_embeddings(
            self._index.fingerprint,
            list(chunks),
            [
                (hash_text(text), vector.tobytes())
                for text, vector in zip(texts, vectors, strict=True)
            ],
        )

    def reembed_all(self) -> None:
        """Embed the texts of all live chunks again, then rebuild the store set.

        For a server that has another model under the same name. If it is interrupted, run it again.
        """
        document_store = self._document_store
        document_store.delete_unused_embeddings()
        self._index.probe.forget()
        last_row = 0
        while batch := document_store.chunk_rows_after("live", last_row, _CHUNKS_PER_BATCH):
            rows = [chunk_row.row for chunk_row in batch]
            last_row = rows[-1]
            self.embed_again(document_store.chunks(rows))
        self._index.probe.check()
        self._index.forget_vectors()
        self.rebuild()

    def is_embedder_working(self) -> bool:
        """Whether the embedder can embed a short text."""
        try:
            self._index.embedder.embed_documents(["A text to see whether it works."])
        except EmbeddingError:
            return False
        return True

    def _remove_deleted_chunks(self) -> None:
        while rows := self._document_store.deleted_chunk_rows(_CHUNKS_PER_BATCH):
            self._store_set.vectors.delete(rows)
            self._store_set.lexical.delete(rows)
            self._store_set.lexical.commit()
            self._document_store.remove_chunks(rows)
        self._document_store.remove_deleted_documents()

    def merge_lexical_index(self) -> None:
        """Fill the lexical index again if its scores depend too much on deleted chunks.

        In one commit of the lexical index, which contains the live chunks before and after. After
        a failure, it stays as it was. With a sparse encoder, only `maintenance.compact` does it: it
        would have to encode all chunks again.
        """
        lexical, live_count = self._store_set.lexical, self._document_store.chunk_count()
        if lexical.sparse_encoder is not None:
            return
        share = _MAX_DELETED_SHARE if live_count > _MAX_CHUNKS_TO_MERGE_ALWAYS else 0.0
        if lexical.deleted_count > share * live_count:
            lexical.replace_all(self._store_set.read_lexical_entries())
            lexical.commit()


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
