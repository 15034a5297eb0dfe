"""The store set: vector store and lexical index, under one number, built from documents.

A long repair is never made in place. A new store set is filled under another number, one
transaction of the document store switches to it, and the old set is removed. Searches continue
meanwhile, and an interrupted build leaves only an unused set.

A store that is not persistent (in memory) is filled from the document store when it is opened.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rag.errors import IndexDamaged
from rag.stores.document_store import DocumentState, DocumentStore
from rag.stores.lexical_index import LexicalEntry, LexicalIndex, LexicalIndexConfig
from rag.stores.location import StoreLocation
from rag.stores.sqlite.schema import STORE_SETS_FOLDER
from rag.stores.vector_store import VectorStore, VectorStoreConfig

_ID_FILE = "document-store-id"
_ROWS_PER_BATCH = 5_000
_T = TypeVar("_T")


class StoreSet:
    """Store set `number` of the index in the folder `index`; each store is opened at first use.

    Threads may share a store set.
    """

    def __init__(
        self,
        index: Path,
        number: int,
        document_store: DocumentStore,
        vector_config: VectorStoreConfig,
        lexical_config: LexicalIndexConfig,
    ) -> None:
        self.number = number
        self.path = index / STORE_SETS_FOLDER / str(number)
        self.vector_config = vector_config
        self.lexical_config = lexical_config
        self._document_store = document_store
        self._lock = threading.RLock()
        self._vectors: VectorStore | None = None
        self._lexical: LexicalIndex | None = None
        self._is_new = False
        self._closed = False

    @property
    def vectors(self) -> VectorStore:
        """Vector store. Raises `IndexDamaged` if it cannot be opened or the set is closed."""
        with self._lock:
            self._require_open()
            if self._vectors is None:
                vectors = self.vector_config.open(self._locate(self.vector_config))
                if not self.vector_config.is_persistent and not self._is_new:
                    self._update_vectors(vectors)
                self._vectors = vectors
            return self._vectors

    @property
    def lexical(self) -> LexicalIndex:
        """Lexical index. Raises `IndexDamaged` if it cannot be opened or the set is closed."""
        with self._lock:
            self._require_open()
            if self._lexical is None:
                lexical = self.lexical_config.open(self._locate(self.lexical_config))
                if not self.lexical_config.is_persistent and not self._is_new:
                    self._update_lexical(lexical)
                self._lexical = lexical
            return self._lexical

    def _locate(self, config: VectorStoreConfig | LexicalIndexConfig) -> StoreLocation:
        return StoreLocation(self.path / config.name, f"{self._document_store.id}-{self.number}")

    def _require_open(self) -> None:
        if self._closed:
            raise IndexDamaged(
                f"{self.path} was closed while in use, or replaced by a newer one", path=self.path
            )
        if (self._vectors is None or self._lexical is None) and self._read_source_id() not in (
            "",
            self._document_store.id,
        ):
            raise IndexDamaged(
                f"{self.path} was built from another document store: {IndexDamaged.REFILL_HINT}",
                path=self.path,
            )

    def _read_source_id(self) -> str:
        """Return the id of the document store that the set was built from.

        "" for a set of version 0.1, and for one that a writer has just removed.
        """
        try:
            return (self.path / _ID_FILE).read_text(encoding="utf-8")
        except OSError:
            return ""

    def create(self) -> None:
        """Create the storage of a new set. An existing one stays as it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / _ID_FILE).write_text(self._document_store.id, encoding="utf-8")
        for config in (self.vector_config, self.lexical_config):
            config.create(self._locate(config))
        self._is_new = True

    # -- filling -----------------------------------------------------------------------------

    def write_rows(
        self,
        rows: Sequence[int],
        document_store: DocumentStore,
        fingerprint: str,
        state: DocumentState = "live",
    ) -> None:
        """Copy chunks in `state`, with their vectors, from `document_store` to both stores."""
        documents = {
            chunk_row.row: chunk_row.document
            for chunk_row in document_store.chunk_rows_after(state, rows[0] - 1, len(rows))
        }
        vector_rows, matrix = document_store.vectors(rows, fingerprint)
        chunks = document_store.chunks(rows, state)
        self.vectors.upsert(
            vector_rows,
            [documents[row] for row in vector_rows],
            matrix,
            [chunks[row] for row in vector_rows],
        )
        self.lexical.add(
            LexicalEntry(row, documents[row], chunks[row].heading_context, chunks[row].text)
            for row in rows
        )

    def _update_vectors(self, store: VectorStore) -> None:
        """Make a vector store that is not persistent contain the live chunks."""
        live = self._document_store.live_rows()
        fingerprint = self._document_store.state.embedder_fingerprint
        stored = set(store.rows())
        store.delete(sorted(stored - live.keys()))
        for rows in split_rows(sorted(live.keys() - stored)):
            vector_rows, matrix = self._document_store.vectors(rows, fingerprint)
            chunks = self._document_store.chunks(vector_rows) if store.stores_chunks else {}
            store.upsert(
                vector_rows,
                [live[row] for row in vector_rows],
                matrix,
                [chunks[row] for row in vector_rows if row in chunks],
            )

    def _update_lexical(self, index: LexicalIndex) -> None:
        """Make a lexical index that is not persistent contain the live chunks."""
        live = self._document_store.live_rows()
        stored = set(index.rows())
        index.delete(sorted(stored - live.keys()))
        index.add(self._read_entries({row: live[row] for row in live.keys() - stored}))
        index.commit()

    def read_lexical_entries(self) -> Iterator[LexicalEntry]:
        """Read the live chunks for the lexical index."""
        return self._read_entries(self._document_store.live_rows())

    def _read_entries(self, documents: Mapping[int, int]) -> Iterator[LexicalEntry]:
        """Read the chunks of these rows, with their documents, in the order of the rows."""
        for rows in split_rows(sorted(documents)):
            chunks = self._document_store.chunks(rows)
            for row in rows:
                if row in chunks:
                    yield LexicalEntry(
                        row, documents[row], chunks[row].heading_context, chunks[row].text
                    )

    # -- state -------------------------------------------------------------------------------

    def storage_exists(self) -> bool:
        """Whether the storage of the stores that are open still exists."""
        with self._lock:
            stores = (self._lexical, self._vectors)
            return all(store.storage_exists() for store in stores if store is not None)

    def refresh(self, generation: int) -> None:
        """Make searches see what other processes wrote up to `generation`."""
        with self._lock:
            if self._lexical is not None:
                self._lexical.refresh(generation)
                if not self.lexical_config.is_persistent:
                    self._update_lexical(self._lexical)
            if self._vectors is not None:
                self._vectors.refresh(generation)
                if not self.vector_config.is_persistent:
                    self._update_vectors(self._vectors)

    def counts(self) -> dict[str, int]:
        """Return the number of chunks by store. Raises `IndexDamaged` if one cannot be opened."""
        return {
            self.lexical_config.name: self.lexical.count(),
            self.vector_config.name: self.vectors.count(),
        }

    def close(self) -> None:
        """Close all files after the running calls end."""
        with self._lock:
            self._closed = True
            if self._lexical is not None:
                self._lexical.close()
            if self._vectors is not None:
                self._vectors.close()
            self._vectors, self._lexical = None, None

    def remove(self) -> None:
        """Close and delete the set. Files that others have open are freed when they close them."""
        with self._lock:
            self.close()
            for config in (self.vector_config, self.lexical_config):
                config.remove(self._locate(config))
        shutil.rmtree(self.path, ignore_errors=True)


def split_rows(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Split rows into batches that fit in memory with their texts."""
    return (rows[i : i + _ROWS_PER_BATCH] for i in range(0, len(rows), _ROWS_PER_BATCH))


def list_store_set_numbers(index: Path) -> list[int]:
    """Return the numbers of the store sets that have a folder, sorted."""
    folder = index / STORE_SETS_FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
