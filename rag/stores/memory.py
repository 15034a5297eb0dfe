"""The document store in memory: for tests, notebooks and short-lived indexes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from rag.errors import DocumentNotFound, IndexDamaged, IndexNotFound, RagIndexError
from rag.stores.document_store import (
    ChunkRow,
    ChunkSpan,
    DocumentInfo,
    DocumentState,
    DocumentStore,
    DocumentStoreConfig,
    FailureEntry,
    IndexState,
    LedgerEntry,
    NamedDocument,
    PendingDocument,
    Stats,
)
from rag.stores.location import StoreLocation
from rag.text.name_keys import list_document_keys
from rag.types import Chunk, Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class InMemoryDocuments(DocumentStoreConfig):
    """Keep documents in the memory of the process: they are gone when the pipeline is closed.

    Needs a vector store and a lexical index in memory, too.
    """

    name: ClassVar[str] = "memory"
    is_persistent: ClassVar[bool] = False

    def exists(self, location: StoreLocation) -> bool:
        """Return False: a new store is always empty."""
        return False

    def open(
        self, location: StoreLocation, *, create: bool = False, read_only: bool = False
    ) -> InMemoryDocumentStore:
        """Return an empty store. Raises `IndexNotFound` without `create`."""
        if not create:
            raise IndexNotFound(
                "a document store in memory is empty until this pipeline ingests something"
            )
        return InMemoryDocumentStore()


@dataclass(slots=True)
class _StoredDocument:
    """A document in any state, with the rows of its chunks."""

    number: int
    state: Literal["pending", "staged", "live", "deleted"]
    document: Document
    entry: LedgerEntry
    embedder: str
    written_at: float
    keys: Mapping[str, float]  # of its names, with their weights
    rows: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _StoredChunk:
    chunk: Chunk
    document: int
    embedder: str
    text_hash: bytes


class InMemoryDocumentStore(DocumentStore):
    """Documents, chunks, embeddings, ledger and failures in dictionaries, under one lock."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex[:16]
        self._lock = threading.RLock()
        self._state = IndexState(0, 1, "")
        self._documents: dict[int, _StoredDocument] = {}
        self._live: dict[str, _StoredDocument] = {}
        self._chunks: dict[int, _StoredChunk] = {}
        self._embeddings: dict[tuple[str, bytes], bytes] = {}
        self._failures: dict[str, FailureEntry] = {}
        self._last_number = self._last_row = 0
        self._is_closed = False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if self._is_closed:
                raise RagIndexError("the document store in memory was closed while in use")
            yield

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._is_closed = True
            self._documents, self._live, self._chunks = {}, {}, {}
            self._embeddings, self._failures = {}, {}

    # -- state of the index ------------------------------------------------------------------

    @property
    def id(self) -> str:
        """See `DocumentStore.id`."""
        return self._id

    @property
    def state(self) -> IndexState:
        """See `DocumentStore.state`."""
        with self._locked():
            return self._state

    def _increment_generation(self) -> None:
        self._state = self._state._replace(generation=self._state.generation + 1)

    def set_embedder(self, note: str) -> None:
        """See `DocumentStore.set_embedder`."""
        with self._locked():
            self._state = self._state._replace(embedder=note)

    def activate_store_set(
        self,
        number: int,
        embedder: str | None = None,
        replacement: Literal["pending", "staged"] | None = None,
    ) -> None:
        """See `DocumentStore.activate_store_set`."""
        with self._locked():
            if replacement is not None:
                for stored in self._live.values():
                    stored.state = "deleted"
                self._live = {}
                for stored in self._documents.values():
                    if stored.state == replacement:
                        stored.state = "live"
                        self._live[stored.document.uri] = stored
            note = self._state.embedder if embedder is None else embedder
            self._state = IndexState(self._state.generation + 1, number, note)

    # -- writing documents -------------------------------------------------------------------

    def add_pending(
        self, documents: Sequence[PendingDocument], embedder: str
    ) -> tuple[list[int], list[int]]:
        """See `DocumentStore.add_pending`."""
        numbers: list[int] = []
        rows: list[int] = []
        with self._locked():
            for document, entry, chunks, text_hashes, vectors in documents:
                self._last_number += 1
                stored = _StoredDocument(
                    self._last_number,
                    "pending",
                    document,
                    entry,
                    embedder,
                    time.time(),
                    list_document_keys(document.identity),
                )
                for chunk, text_hash, vector in zip(chunks, text_hashes, vectors, strict=True):
                    self._embeddings.setdefault((embedder, text_hash), vector.tobytes())
                    self._last_row += 1
                    self._chunks[self._last_row] = _StoredChunk(
                        chunk, stored.number, embedder, text_hash
                    )
                    stored.rows.append(self._last_row)
                self._documents[stored.number] = stored
                numbers.append(stored.number)
                rows += stored.rows
        return numbers, rows

    def make_live(self, documents: Sequence[int]) -> None:
        """See `DocumentStore.make_live`."""
        with self._locked():
            for number in documents:
                stored = self._documents[number]
                uri = stored.document.uri
                if (earlier := self._live.get(uri)) is not None:
                    earlier.state = "deleted"
                stored.state = "live"
                self._live[uri] = stored
                self._failures.pop(uri, None)
            self._increment_generation()

    def stage(self, documents: Sequence[int]) -> None:
        """See `DocumentStore.stage`."""
        with self._locked():
            for number in documents:
                self._documents[number].state = "staged"

    def mark_deleted(self, uris: Sequence[str]) -> int:
        """See `DocumentStore.mark_deleted`."""
        with self._locked():
            deleted = [self._live.pop(uri) for uri in uris if uri in self._live]
            for stored in deleted:
                stored.state = "deleted"
            self.delete_failures(uris)
            if deleted:
                self._increment_generation()
        return len(deleted)

    def discard(self, state: Literal["pending", "staged"], *, except_embedder: str = "") -> int:
        """See `DocumentStore.discard`."""
        with self._locked():
            discarded = [
                stored
                for stored in self._documents.values()
                if stored.state == state and stored.embedder != except_embedder
            ]
            for stored in discarded:
                stored.state = "deleted"
        return len(discarded)

    def deleted_chunk_rows(self, limit: int) -> list[int]:
        """See `DocumentStore.deleted_chunk_rows`."""
        with self._locked():
            rows = (
                row
                for stored in self._documents.values()
                if stored.state == "deleted"
                for row in stored.rows
            )
            return [row for row, _ in zip(rows, range(limit), strict=False)]

    def remove_chunks(self, rows: Sequence[int]) -> None:
        """See `DocumentStore.remove_chunks`."""
        with self._locked():
            for row in rows:
                if (chunk := self._chunks.pop(row, None)) is not None:
                    self._documents[chunk.document].rows.remove(row)

    def remove_deleted_documents(self) -> None:
        """See `DocumentStore.remove_deleted_documents`."""
        with self._locked():
            for number, stored in list(self._documents.items()):
                if stored.state == "deleted" and not stored.rows:
                    del self._documents[number]

    # -- reading chunks ----------------------------------------------------------------------

    def chunk_rows_after(self, state: DocumentState, after: int, limit: int) -> list[ChunkRow]:
        """See `DocumentStore.chunk_rows_after`."""
        with self._locked():
            matching = (
                ChunkRow(row, chunk.document)
                for row, chunk in self._chunks.items()  # rows only grow, so they are in order
                if row > after and self._documents[chunk.document].state == state
            )
            return [chunk_row for chunk_row, _ in zip(matching, range(limit), strict=False)]

    def live_documents_by_row(self, rows: Sequence[int]) -> dict[int, int]:
        """See `DocumentStore.live_documents_by_row`."""
        with self._locked():
            return {row: self._chunks[row].document for row in self._select_rows(rows, "live")}

    def _select_rows(self, rows: Sequence[int], state: DocumentState) -> list[int]:
        return [
            row
            for row in rows
            if row in self._chunks and self._documents[self._chunks[row].document].state == state
        ]

    def chunks(self, rows: Sequence[int], state: DocumentState = "live") -> dict[int, Chunk]:
        """See `DocumentStore.chunks`."""
        with self._locked():
            return {row: self._chunks[row].chunk for row in self._select_rows(rows, state)}

    def chunk_count(self, state: DocumentState = "live") -> int:
        """See `DocumentStore.chunk_count`."""
        with self._locked():
            return sum(len(s.rows) for s in self._documents.values() if s.state == state)

    def rows_of_documents(self, documents: Sequence[int]) -> list[int]:
        """See `DocumentStore.rows_of_documents`."""
        with self._locked():
            return [
                row
                for number in documents
                if number in self._documents
                for row in self._documents[number].rows
            ]

    def find_named_documents(
        self,
        keys: Sequence[str],
        *,
        limit: int,
        documents: Collection[int] | None = None,
        min_weight: float = 0.0,
    ) -> dict[str, dict[int, NamedDocument]]:
        """See `DocumentStore.find_named_documents`."""
        documents_by_key: dict[str, dict[int, NamedDocument]] = {}
        with self._locked():
            for stored in self._live.values():
                if documents is None or stored.number in documents:
                    for key in stored.keys.keys() & set(keys):
                        document = NamedDocument(stored.keys[key], len(stored.rows))
                        if document.weight >= min_weight:
                            documents_by_key.setdefault(key, {})[stored.number] = document
        return {
            key: by_number for key, by_number in documents_by_key.items() if len(by_number) <= limit
        }

    def uris_of_documents(self, documents: Sequence[int]) -> dict[int, str]:
        """See `DocumentStore.uris_of_documents`."""
        with self._locked():
            return {n: self._documents[n].document.uri for n in documents if self._is_live(n)}

    def _is_live(self, number: int) -> bool:
        return number in self._documents and self._documents[number].state == "live"

    def document_count(self) -> int:
        """See `DocumentStore.document_count`."""
        with self._locked():
            return len(self._live)

    def outline(self, uri: str) -> list[ChunkSpan]:
        """See `DocumentStore.outline`."""
        with self._locked():
            stored = self._live.get(uri)
            rows = [] if stored is None else stored.rows
            spans = [
                ChunkSpan(row, chunk.start, chunk.end, chunk.headings)
                for row in rows
                for chunk in (self._chunks[row].chunk,)
            ]
        return sorted(spans, key=lambda span: (span.start, span.end))

    # -- reading documents -------------------------------------------------------------------

    def document(self, uri: str) -> Document:
        """See `DocumentStore.document`."""
        with self._locked():
            stored = self._live.get(uri)
        if stored is None:
            raise DocumentNotFound(f"the index holds no document {uri}", uri=uri)
        return stored.document

    def documents(self) -> list[DocumentInfo]:
        """See `DocumentStore.documents`."""
        with self._locked():
            return [
                DocumentInfo(
                    number=stored.number,
                    uri=uri,
                    title=stored.document.title,
                    mime=stored.document.mime,
                    characters=len(stored.document.text),
                    chunks=len(stored.rows),
                    written_at=stored.written_at,
                )
                for uri, stored in sorted(self._live.items())
            ]

    def documents_to_stage(self, after: int, limit: int) -> list[tuple[int, str]]:
        """See `DocumentStore.documents_to_stage`."""
        with self._locked():
            staged_uris = {
                stored.document.uri
                for stored in self._documents.values()
                if stored.state == "staged"
            }
            return sorted(
                (stored.number, uri)
                for uri, stored in self._live.items()
                if stored.number > after and uri not in staged_uris
            )[:limit]

    def stats(self) -> Stats:
        """See `DocumentStore.stats`."""
        with self._locked():
            return Stats(
                documents=len(self._live),
                chunks=self.chunk_count(),
                characters=sum(len(s.document.text) for s in self._live.values()),
                cached_embeddings=len(self._embeddings),
                failures=len(self._failures),
                unfinished=len(self._documents) - len(self._live),
            )

    # -- the ingestion ledger ----------------------------------------------------------------

    def sources(self, prefix: str = "") -> list[tuple[str, str, str]]:
        """See `DocumentStore.sources`."""
        with self._locked():
            return sorted(
                (uri, stored.entry.source, stored.entry.owner_id)
                for uri, stored in self._live.items()
                if uri.startswith(prefix)
            )

    def ledger_by_uri(self, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        """See `DocumentStore.ledger_by_uri`."""
        with self._locked():
            return {uri: self._live[uri].entry for uri in uris if uri in self._live}

    def ledger_by_source(self, sources: Sequence[str]) -> dict[str, dict[str, LedgerEntry]]:
        """See `DocumentStore.ledger_by_source`."""
        wanted_sources = set(sources)
        entries: dict[str, dict[str, LedgerEntry]] = {}
        with self._locked():
            for uri, stored in self._live.items():
                if stored.entry.source in wanted_sources:
                    entries.setdefault(stored.entry.source, {})[uri] = stored.entry
        return entries

    def refresh_ledger(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """See `DocumentStore.refresh_ledger`."""
        with self._locked():
            for uri, entry in entries:
                if (stored := self._live.get(uri)) is not None:
                    stored.entry = replace(
                        entry, digest=stored.entry.digest, owner_id=stored.entry.owner_id
                    )
                self._failures.pop(uri, None)

    def record_failures(self, failures: Sequence[FailureEntry]) -> None:
        """See `DocumentStore.record_failures`."""
        with self._locked():
            self._failures.update((failure.uri, failure) for failure in failures)

    def failures(self, prefix: str = "") -> list[FailureEntry]:
        """See `DocumentStore.failures`."""
        with self._locked():
            return [
                failure for uri, failure in sorted(self._failures.items()) if uri.startswith(prefix)
            ]

    def delete_failures(self, uris: Sequence[str]) -> None:
        """See `DocumentStore.delete_failures`."""
        with self._locked():
            for uri in uris:
                self._failures.pop(uri, None)

    # -- the embedding cache -----------------------------------------------------------------

    def add_embeddings(self, embedder: str, embeddings: Iterable[tuple[bytes, bytes]]) -> None:
        """See `DocumentStore.add_embeddings`."""
        with self._lock:
            for text_hash, vector in embeddings:
                self._embeddings.setdefault((embedder, text_hash), vector)

    def cached_embeddings(self, embedder: str, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `DocumentStore.cached_embeddings`."""
        with self._locked():
            return {
                text_hash: self._embeddings[embedder, text_hash]
                for text_hash in hashes
                if (embedder, text_hash) in self._embeddings
            }

    def vectors(self, rows: Sequence[int], embedder: str) -> tuple[list[int], NDArray[np.float32]]:
        """See `DocumentStore.vectors`."""
        import numpy as np

        with self._locked():
            row_vectors = {
                row: self._embeddings[embedder, chunk.text_hash]
                for row in sorted(set(rows))
                if (chunk := self._chunks.get(row)) is not None
                and chunk.embedder == embedder
                and (embedder, chunk.text_hash) in self._embeddings
            }
        if not row_vectors:
            return [], np.zeros((0, 0), dtype=np.float32)
        if len({len(vector) for vector in row_vectors.values()}) > 1:
            raise IndexDamaged("the document store in memory holds vectors of different lengths")
        matrix = np.frombuffer(b"".join(row_vectors.values()), dtype=np.float32)
        return list(row_vectors), matrix.reshape(len(row_vectors), -1)

    def replace_embeddings(
        self, embedder: str, rows: Sequence[int], embeddings: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """See `DocumentStore.replace_embeddings`."""
        with self._locked():
            for row, (text_hash, vector) in zip(rows, embeddings, strict=True):
                self._embeddings[embedder, text_hash] = vector
                if (chunk := self._chunks.get(row)) is not None:
                    chunk.embedder, chunk.text_hash = embedder, text_hash

    def delete_unused_embeddings(self) -> int:
        """See `DocumentStore.delete_unused_embeddings`."""
        with self._locked():
            used = {(chunk.embedder, chunk.text_hash) for chunk in self._chunks.values()}
            unused = self._embeddings.keys() - used
            for key in unused:
                del self._embeddings[key]
        return len(unused)
