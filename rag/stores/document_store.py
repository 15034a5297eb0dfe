"""The contract of document stores, and the records they hold.

The document store is the authority: vector store and lexical index are built from it. A document
is in one of four states:

* ``pending``: an ingest is writing it. Searches do not see it.
* ``live``: searches find it. At most one version of a uri is live.
* ``staged``: it is complete, and embedded with the embedder of a re-embedding. Searches do not
  see it until all staged documents become live together.
* ``deleted``: a newer version replaced it, it was deleted on request, or a crash left it
  incomplete. Searches do not see it. Its chunks are removed from the vector store and the lexical
  index before they are removed here.

Numbers of documents and rows of chunks grow and are never used again, so a row left in another
store can never be mistaken for a newer one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from rag.component import Component
from rag.errors import DocumentNotFound, RagIndexError
from rag.filters import Filter, Where
from rag.stores.filter_fields import (
    MAX_WARNINGS_PER_FILTER,
    find_nearest_fields,
    list_metadata_fields,
    warn_of_unknown_fields,
)
from rag.stores.location import StoreLocation
from rag.text.name_keys import list_document_keys
from rag.types import Chunk, Document, LocationIndex, Scalar, SourceLocation
from rag.types.comparison import normalize_field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DocumentState = Literal["pending", "staged", "live"]
_ROWS_PER_READ = 5_000


class DocumentStoreConfig(Component):
    """Configuration of a document store: the component that a pipeline names.

    ``is_persistent`` says whether the contents outlive the process.
    """

    kind: ClassVar[str] = "document_store"
    is_persistent: ClassVar[bool] = True

    @abstractmethod
    def exists(self, location: StoreLocation) -> bool:
        """Whether there is a document store at the location, also a damaged one."""

    @abstractmethod
    def open(
        self, location: StoreLocation, *, create: bool = False, read_only: bool = False
    ) -> DocumentStore:
        """Open the store; with `create`, create it if it does not exist.

        With `read_only`, every write raises `RagIndexError` and changes nothing. Two processes may
        create the store at the same time. A file of which a crash left only a part must still
        open. Raises `IndexNotFound`, and `IndexDamaged` if the store cannot be read.
        """

    def remove(self, location: StoreLocation) -> None:
        """Delete the contents outside the folder. The index deletes the folder itself."""

    def replace_damaged(self, location: StoreLocation, snapshot: Path) -> Path:
        """Replace a store that cannot be opened with a snapshot. Return where it was moved.

        `snapshot` is the file of a SQLite document store.
        """
        raise RagIndexError(
            f"the document store {self.name!r} cannot be replaced by a snapshot while it is "
            "damaged: restore it with its own tools, or ingest into a new index"
        )


class IndexState(NamedTuple):
    """The state of the index that searches see.

    ``generation`` grows with every change. ``store_set_number`` is the number of the store set in
    use. ``embedder`` is a JSON note about the embedder of its vectors ("" before the first ingest).
    """

    generation: int
    store_set_number: int
    embedder: str

    @property
    def embedder_fingerprint(self) -> str:
        """Fingerprint of the embedder of the live vectors; "" if there is none."""
        return str(json.loads(self.embedder)["fingerprint"]) if self.embedder else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """How a document was ingested. While these values are unchanged, it need not be ingested again.

    ``source`` is the uri of the source of the document; a source may have several documents.
    ``digest`` is `Document.digest`, ``content_hash`` the hash of the source's bytes. ``parser`` and
    ``chunker`` are fingerprints. ``parts`` is the number of documents and failures of the source.
    ``owner_id`` is the `Connector.owner_id` of the connector that listed the source first.
    """

    source: str
    source_version: str
    content_hash: str
    parser: str
    chunker: str
    digest: str
    parts: int = 1
    owner_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureEntry:
    """Why the last attempt to ingest a source, or a part of one, failed.

    With a ``source_version``, this version always fails with this ``parser``.
    """

    uri: str
    source: str
    error: str
    source_version: str = ""
    parser: str = ""


class PendingDocument(NamedTuple):
    """A document to write, with its ledger entry, its chunks and their embeddings.

    ``text_hashes`` and ``vectors`` (float32 ``[len(chunks), dimension]``) belong to the chunks, in
    their order. A text hash is the key of an embedding in the embedding cache.
    """

    document: Document
    entry: LedgerEntry
    chunks: Sequence[Chunk]
    text_hashes: Sequence[bytes]
    vectors: NDArray[np.float32]


class ChunkRow(NamedTuple):
    """The row of a chunk, and the number of its document."""

    row: int
    document: int


class ChunkSpan(NamedTuple):
    """A chunk's row, its span in its document in characters, and the headings above it."""

    row: int
    start: int
    end: int
    headings: tuple[str, ...]


class NamedDocument(NamedTuple):
    """A document that has a name: how much the name tells (0..1), and its number of chunks."""

    weight: float
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """A live document in a listing.

    ``written_at`` is when `DocumentStore.add_pending` wrote it, in seconds since 1970. The store
    keeps it with the document.
    """

    number: int
    uri: str
    title: str
    mime: str
    characters: int
    chunks: int
    written_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of the index.

    ``documents``, ``chunks`` and ``characters`` count live documents, ``unfinished`` the documents
    in any other state.
    """

    documents: int
    chunks: int
    characters: int
    cached_embeddings: int
    failures: int
    unfinished: int


class DocumentStore(ABC):
    """Documents, chunks, embeddings, ledger entries and failures: the authority of an index.

    The location's folder is that of the index or namespace. The index has other files there
    (`write.lock`, `derived/`, `snapshots/` and others), so give yours a name of their own.

    Each method that writes is one transaction: all of it is durable when the method returns, or
    nothing of it is there, also after a crash. Threads may share a store; one process writes at a
    time (the index holds a lock), and others read meanwhile. Reads raise `IndexDamaged` for data
    that cannot be read, `QueryError` for values that cannot be looked up, and `RagIndexError` for
    a store that was closed. A write that fails raises `RagIndexError` or `OSError`. Unknown
    numbers, rows and uris are ignored. Objects that a method returns may be shared with the store.

    The methods that are not abstract work with the others. Override those for which your store
    has a faster way.
    """

    # -- state of the index ------------------------------------------------------------------

    @property
    @abstractmethod
    def id(self) -> str:
        """Identifier of these contents: 16 hex digits, made when the store was created."""

    @property
    @abstractmethod
    def state(self) -> IndexState:
        """State of the index that searches see, read at one moment. A new store: ``(0, 1, "")``."""

    @property
    def generation(self) -> int:
        """Number that grows whenever search results may change."""
        return self.state.generation

    @abstractmethod
    def set_embedder(self, note: str) -> None:
        """Set ``state.embedder``, before the first document is written."""

    @abstractmethod
    def activate_store_set(
        self,
        number: int,
        embedder: str | None = None,
        replacement: Literal["pending", "staged"] | None = None,
    ) -> None:
        """Make searches use the store set `number`, and raise the generation.

        In the same transaction: the documents in state `replacement` become live, and all that were
        live until now become deleted; `embedder` becomes ``state.embedder``.
        """

    # -- writing documents -------------------------------------------------------------------

    @abstractmethod
    def add_pending(
        self, documents: Sequence[PendingDocument], embedder: str
    ) -> tuple[list[int], list[int]]:
        """Write documents as pending, with their chunks and embeddings.

        Embeddings that the cache has for the fingerprint `embedder` stay as they are. Return the
        numbers of the documents and the rows of all their chunks, in order. All are higher than
        those of all earlier documents and chunks, also of removed ones.
        """

    @abstractmethod
    def make_live(self, documents: Sequence[int]) -> None:
        """Make pending documents live, the live versions of their uris deleted.

        Also delete the failures of these uris, and raise the generation.
        """

    @abstractmethod
    def stage(self, documents: Sequence[int]) -> None:
        """Make pending documents staged: they become live when the re-embedding ends."""

    @abstractmethod
    def mark_deleted(self, uris: Sequence[str]) -> int:
        """Mark the live documents with these uris as deleted; return their number.

        Staged documents stay. Also delete the failures of these uris, whether or not they have a
        document, and no others. Raise the generation if a document was deleted.
        """

    @abstractmethod
    def discard(self, state: Literal["pending", "staged"], *, except_embedder: str = "") -> int:
        """Mark documents in a state as deleted, unless written with that embedder fingerprint.

        Return their number.
        """

    @abstractmethod
    def deleted_chunk_rows(self, limit: int) -> list[int]:
        """Return rows of up to `limit` chunks of deleted documents, for removal from all stores."""

    @abstractmethod
    def remove_chunks(self, rows: Sequence[int]) -> None:
        """Remove chunks that are no longer in the vector store and the lexical index."""

    @abstractmethod
    def remove_deleted_documents(self) -> None:
        """Remove the deleted documents that have no chunks left."""

    def remove_deleted_with_chunks(self) -> None:
        """Remove all deleted documents and their chunks.

        Only for a document store whose store set holds none of these chunks.
        """
        while rows := self.deleted_chunk_rows(_ROWS_PER_READ):
            self.remove_chunks(rows)
        self.remove_deleted_documents()

    # -- reading chunks ----------------------------------------------------------------------

    @abstractmethod
    def chunk_rows_after(self, state: DocumentState, after: int, limit: int) -> list[ChunkRow]:
        """Return up to `limit` chunks in `state` above the row `after`, sorted by row."""

    def live_rows(self, after: int = 0) -> dict[int, int]:
        """Return the document number of each live chunk above row `after`, by row, in order."""
        documents_by_row: dict[int, int] = {}
        while batch := self.chunk_rows_after("live", after, _ROWS_PER_READ):
            documents_by_row.update(batch)
            after = batch[-1].row
        return documents_by_row

    @abstractmethod
    def live_documents_by_row(self, rows: Sequence[int]) -> dict[int, int]:
        """Return the document number of those chunks of `rows` that are live, by row."""

    @abstractmethod
    def chunks(self, rows: Sequence[int], state: DocumentState = "live") -> dict[int, Chunk]:
        """Return those chunks of `rows` that are in `state`, with their text, by row.

        All are read at one moment.
        """

    def headings_by_row(self, rows: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return the headings above those chunks of `rows` that are live, from the top, by row."""
        return {row: tuple(chunk.headings) for row, chunk in self.chunks(rows).items()}

    def chunk_count(self, state: DocumentState = "live") -> int:
        """Return the number of chunks of the documents in `state`."""
        count, after = 0, 0
        while batch := self.chunk_rows_after(state, after, _ROWS_PER_READ):
            count += len(batch)
            after = batch[-1].row
        return count

    def find_named_documents(
        self,
        keys: Sequence[str],
        *,
        limit: int,
        documents: Collection[int] | None = None,
        min_weight: float = 0.0,
    ) -> dict[str, dict[int, NamedDocument]]:
        """Return for each of `keys` the live documents that have it, by document number.

        The keys are those of `rag.text.name_keys`. Documents in which a key has less than
        `min_weight` do not count, and with `documents`, only these documents do. A key that more
        than `limit` documents have is left out.
        """
        documents_by_key: dict[str, dict[int, NamedDocument]] = {}
        for info in self.documents():
            if documents is not None and info.number not in documents:
                continue
            weights = list_document_keys(self.document(info.uri).identity)
            for key in weights.keys() & set(keys):
                if weights[key] < min_weight:
                    continue
                documents_by_key.setdefault(key, {})[info.number] = NamedDocument(
                    weights[key], info.chunks
                )
        return {
            key: by_number for key, by_number in documents_by_key.items() if len(by_number) <= limit
        }

    def uris_of_documents(self, documents: Sequence[int]) -> dict[int, str]:
        """Return the uris of the live documents with these numbers, by number."""
        numbers = set(documents)
        return {info.number: info.uri for info in self.documents() if info.number in numbers}

    def document_count(self) -> int:
        """Return the number of live documents."""
        return len(self.documents())

    @abstractmethod
    def rows_of_documents(self, documents: Sequence[int]) -> list[int]:
        """Return the rows of the chunks of the documents with these numbers."""

    @abstractmethod
    def outline(self, uri: str) -> list[ChunkSpan]:
        """Return the chunks of the live document `uri` in text order; empty if there is none."""

    # -- reading documents -------------------------------------------------------------------

    @abstractmethod
    def document(self, uri: str) -> Document:
        """Return the live document `uri`. Raises `DocumentNotFound`."""

    def text(self, uri: str, start: int, end: int) -> str:
        """Return characters ``[start, end)`` of the live document. Raises `DocumentNotFound`."""
        return self.document(uri).text[max(0, start) : max(0, end)]

    def location(self, uri: str, offset: int) -> SourceLocation:
        """Return the source location of the character at `offset` of the live document `uri`.

        Raises `DocumentNotFound`.
        """
        return LocationIndex(self.document(uri).marks).locate(offset)

    @abstractmethod
    def documents(self) -> list[DocumentInfo]:
        """List the live documents, sorted by uri."""

    def identities(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Return `Document.identity` of each live document, by uri, sorted by uri."""
        identities: dict[str, dict[str, tuple[str, ...]]] = {}
        for info in self.documents():
            with suppress(DocumentNotFound):  # another process has deleted it meanwhile
                identities[info.uri] = self.document(info.uri).identity
        return identities

    @abstractmethod
    def documents_to_stage(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (number, uri) of up to `limit` live documents whose uri is not staged, by number.

        Only documents with a number above `after`.
        """

    @abstractmethod
    def stats(self) -> Stats:
        """Count documents, chunks, characters, cached embeddings and failures."""

    def matching_documents(self, where: Where) -> dict[int, int]:
        """Return the chunk count of each live document that `where` selects, by document number.

        Raises `QueryError`.
        """
        document_filter = Filter.of(where)
        warn_of_unknown_fields(self.unknown_fields(document_filter))
        chunk_counts: dict[int, int] = {}
        for info in self.documents():
            with suppress(DocumentNotFound):  # another process has deleted it meanwhile
                if document_filter.matches(self.document(info.uri)):
                    chunk_counts[info.number] = info.chunks
        return chunk_counts

    def unknown_fields(self, where: Where) -> dict[str, list[str]]:
        """Return the fields that `where` compares and no document has, with the nearest fields.

        Empty for a store without documents. `matching_documents` logs a warning for each.
        """
        missing = self._find_missing_fields(list_metadata_fields(where))
        if not missing or not self.stats().documents:
            return {}
        fields = self.metadata_fields()
        nearest = {
            name: find_nearest_fields(name, fields) for name in missing[:MAX_WARNINGS_PER_FILTER]
        }
        return {name: nearest.get(name, []) for name in missing}

    def _find_missing_fields(self, names: Sequence[str]) -> list[str]:
        """Return those of `names` that are a metadata field of no live document."""
        if not names:
            return []
        present = {normalize_field(name) for name in self.metadata_fields()}
        return [name for name in names if normalize_field(name) not in present]

    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields of the live documents, sorted."""
        names: set[str] = set()
        for info in self.documents():
            with suppress(DocumentNotFound):  # another process has deleted it meanwhile
                names.update(self.document(info.uri).metadata)
        return sorted(names)

    def metadata_values(
        self, fields: Sequence[str], limit: int
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """Return the values of these metadata fields, with their number of live documents.

        The most frequent come first. Of a field with more than `limit` different values, only the
        most frequent are returned.
        """
        counts: dict[str, Counter[tuple[str, Scalar]]] = {field: Counter() for field in fields}
        for info in self.documents():
            with suppress(DocumentNotFound):  # another process has deleted it meanwhile
                metadata = self.document(info.uri).metadata
                for field in counts.keys() & metadata.keys():
                    value = metadata[field]
                    values = value if isinstance(value, tuple) else (value,)
                    counts[field].update({(type(v).__name__, v) for v in values})  # True == 1
        return {
            field: [(value, count) for (_, value), count in by_value.most_common(limit)]
            for field, by_value in counts.items()
        }

    # -- the ingestion ledger ----------------------------------------------------------------

    @abstractmethod
    def sources(self, prefix: str = "") -> list[tuple[str, str, str]]:
        """Return (uri, source, owner id) of the live documents with this uri prefix, sorted."""

    def uris(self, prefix: str = "") -> list[str]:
        """Return the uris of the live documents that begin with `prefix`, sorted."""
        return [uri for uri, _, _ in self.sources(prefix)]

    @abstractmethod
    def ledger_by_uri(self, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        """Return the ledger entries of the live documents with these uris, by uri."""

    @abstractmethod
    def ledger_by_source(self, sources: Sequence[str]) -> dict[str, dict[str, LedgerEntry]]:
        """Return the ledger entries of the live documents of these sources, by source and uri."""

    @abstractmethod
    def refresh_ledger(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """Update the ledger entries of live documents whose content is unchanged, by uri.

        Also delete the failures of these uris. Digest and owner id stay.
        """

    @abstractmethod
    def record_failures(self, failures: Sequence[FailureEntry]) -> None:
        """Record failures, each in place of an earlier one of the same uri."""

    @abstractmethod
    def failures(self, prefix: str = "") -> list[FailureEntry]:
        """Return the failures of the uris that begin with `prefix`, sorted by uri."""

    def failures_by_source(self, sources: Sequence[str]) -> dict[str, list[FailureEntry]]:
        """Return the failures of these sources, by source."""
        failures: dict[str, list[FailureEntry]] = {}
        for failure in self.failures():
            if failure.source in sources:
                failures.setdefault(failure.source, []).append(failure)
        return failures

    @abstractmethod
    def delete_failures(self, uris: Sequence[str]) -> None:
        """Delete the failures with these uris."""

    # -- the embedding cache -----------------------------------------------------------------

    @abstractmethod
    def add_embeddings(self, embedder: str, embeddings: Iterable[tuple[bytes, bytes]]) -> None:
        """Add embeddings (text hash, float32 bytes) to the cache; existing ones stay."""

    @abstractmethod
    def cached_embeddings(self, embedder: str, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the cached vectors (float32 bytes) of the fingerprint `embedder`, by text hash.

        An embedding stays in the cache when its chunk is removed.
        """

    @abstractmethod
    def vectors(self, rows: Sequence[int], embedder: str) -> tuple[list[int], NDArray[np.float32]]:
        """Return those of the chunks `rows` with a vector, sorted, and float32 ``[n, d]``.

        Chunks in any state; without a result, an array of shape ``(0, 0)``. Raises `IndexDamaged`
        for vectors of different lengths.
        """

    @abstractmethod
    def replace_embeddings(
        self, embedder: str, rows: Sequence[int], embeddings: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Replace lost or broken embeddings of the chunks `rows`.

        `embeddings` has a text hash and float32 bytes for each row. The chunk then refers to this
        text hash.
        """

    def delete_unused_embeddings(self) -> int:
        """Delete the embeddings that no chunk in any state uses; return their number."""
        return 0

    # -- maintenance -------------------------------------------------------------------------

    def integrity_errors(self) -> list[str]:
        """Return what is wrong with the storage itself. May read all of it."""
        return []

    def compact(self) -> None:  # noqa: B027 (not every store has unused space)
        """Return the space of removed rows to the system."""

    def storage_exists(self) -> bool:
        """Whether the storage that was opened still exists, and no other program replaced it.

        Override it if the store has files. Return False if they were deleted, or if another store
        is now in their place.
        """
        return True

    @abstractmethod
    def close(self) -> None:
        """Release files and connections after the running calls end. Called more than once."""


def iterate_pending_documents(
    store: DocumentStore, embedder: str, batch_size: int = 100
) -> Iterator[list[PendingDocument]]:
    """Yield all live documents of `store` with vectors of the fingerprint `embedder`, in batches.

    To copy them to another store. Chunks without a vector raise `RagIndexError`.
    """
    uris = store.uris()
    for i in range(0, len(uris), batch_size):
        batch_uris = uris[i : i + batch_size]
        ledger = store.ledger_by_uri(batch_uris)
        yield [
            _read_pending_document(store, uri, ledger[uri], embedder)
            for uri in batch_uris
            if uri in ledger
        ]


def _read_pending_document(
    store: DocumentStore, uri: str, entry: LedgerEntry, embedder: str
) -> PendingDocument:
    rows = [span.row for span in store.outline(uri)]
    chunks = store.chunks(rows)
    vector_rows, vectors = store.vectors(rows, embedder)
    if set(vector_rows) != set(rows):
        raise RagIndexError(f"{uri}: the document store has lost vectors: run `rag index repair`")
    order = sorted(rows)
    ordered_chunks = [chunks[row] for row in order]
    return PendingDocument(
        store.document(uri),
        entry,
        ordered_chunks,
        [hash_text(chunk.embedded_text) for chunk in ordered_chunks],
        vectors,
    )


def hash_text(text: str) -> bytes:
    """Return the key of a text in the embedding cache: its BLAKE2b hash of 16 bytes."""
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=16).digest()
