"""A copy of the live vectors in memory, for exact search in a small index."""

from __future__ import annotations

import threading

from rag.stores.document_store import DocumentStore
from rag.stores.exact import ExactVectorStore


class VectorCache:
    """The vectors of the live chunks, read from the document store and kept up to date.

    The rows of new chunks are higher than all earlier ones, so only these are read. Chunks that
    are no longer live stay until they are many; callers drop them from results.
    """

    def __init__(self, document_store: DocumentStore, fingerprint: str) -> None:
        self._document_store = document_store
        self._fingerprint = fingerprint
        self._lock = threading.Lock()
        self._generation = -1
        self._store = ExactVectorStore()

    def load_current(self) -> ExactVectorStore:
        """Return a store with the vectors of all live chunks."""
        with self._lock:
            generation = self._document_store.generation
            if generation != self._generation:
                if self._store.count() > 1_000 + 1.2 * self._document_store.chunk_count():
                    self._store = ExactVectorStore()
                live = self._document_store.live_rows(self._store.last_row)
                rows, matrix = self._document_store.vectors(list(live), self._fingerprint)
                self._store.upsert(rows, [live[row] for row in rows], matrix)
                self._generation = generation
            return self._store
