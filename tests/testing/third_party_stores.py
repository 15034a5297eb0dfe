"""Three stores as a third party would write them, from the documentation alone.

A document store that replays a journal, a vector store with a NumPy file for each write, and a
lexical index in one JSON file.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from io import BytesIO
from itertools import islice
from pathlib import Path
from secrets import token_hex
from struct import Struct
from threading import RLock
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from rag import Chunk, Document
from rag.errors import DocumentNotFound, IndexDamaged, IndexNotFound, RagIndexError
from rag.stores import (
    BM25Query,
    ChunkRow,
    ChunkSpan,
    DocumentInfo,
    DocumentStore,
    DocumentStoreConfig,
    FailureEntry,
    IndexState,
    LedgerEntry,
    LexicalEntry,
    LexicalIndex,
    LexicalIndexConfig,
    PendingDocument,
    Stats,
    StoreLocation,
    VectorStore,
    VectorStoreConfig,
)
from rag.stores.lexical_index import StemmedEntry, stem_entries
from rag.stores.query_plan import PhraseClause, WordClause, compute_idf, plan_query

Method = TypeVar("Method", bound=Callable[..., Any])
State = Literal["pending", "staged", "live", "deleted"]
Vectors = NDArray[np.float32]


def _write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


# -- documents ---------------------------------------------------------------------------------

_HEADER = Struct(">QII")  # length and checksum of the record, checksum of these two
_OPERATIONS: dict[str, Callable[..., Any]] = {}


def _frame(record: object) -> bytes:
    body = pickle.dumps(record)
    start = _HEADER.pack(len(body), crc32(body), 0)[:12]
    return start + crc32(start).to_bytes(4, "big") + body


def _reads(method: Method) -> Method:
    """Read what other processes wrote, then run the method, both at one moment."""

    @wraps(method)
    def read(self: JournalStore, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self._read_on()
            return method(self, *args, **kwargs)

    return cast("Method", read)


def _writes(method: Method) -> Method:
    """Write the call to the journal, then replay it."""
    _OPERATIONS[method.__name__] = method

    @wraps(method)
    def write(self: JournalStore, *args: Any, **kwargs: Any) -> Any:
        return self._append((method.__name__, args, kwargs, time.time()))

    return cast("Method", write)


class Journal(DocumentStoreConfig):
    """Keep documents in memory, and every change of them in a journal file."""

    name: ClassVar[str] = "journal"

    def _path(self, location: StoreLocation) -> Path:
        return location.folder / "documents.journal"

    def exists(self, location: StoreLocation) -> bool:
        return self._path(location).exists()

    def open(
        self, location: StoreLocation, *, create: bool = False, read_only: bool = False
    ) -> JournalStore:
        path = self._path(location)
        if create and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, _frame(("_begin", (token_hex(8),), {}, time.time())))
        return JournalStore(path, read_only)


@dataclass
class _StoredDocument:
    document: Document
    entry: LedgerEntry
    embedder: str
    written_at: float
    rows: list[int]
    state: State = "pending"


class _StoredChunk(NamedTuple):
    document: int
    chunk: Chunk
    text_hash: bytes


class JournalStore(DocumentStore):
    """Documents in dictionaries: the result of all operations in a journal file."""

    def __init__(self, path: Path, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._lock = RLock()
        self._now = 0.0
        self._id = ""
        self._state = IndexState(0, 1, "")
        self._documents: dict[int, _StoredDocument] = {}
        self._chunks: dict[int, _StoredChunk] = {}
        self._live: dict[str, int] = {}
        self._failures: dict[str, FailureEntry] = {}
        self._embeddings: dict[tuple[str, bytes], bytes] = {}
        self._last_document = self._last_row = 0
        self._end = 0
        try:
            self._file = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        except FileNotFoundError:
            raise IndexNotFound(f"there is no journal {path}", path=path) from None
        except OSError as e:
            raise IndexDamaged(f"{path} cannot be opened: {e}", path=path) from e
        try:
            self._read_on()
            if not self._id:
                raise IndexDamaged(f"{path} is not a journal", path=path)
        except BaseException:
            self.close()
            raise

    # -- the journal -------------------------------------------------------------------------

    def _read_on(self) -> Any:
        """Replay the records written since the last call; return the result of the last one."""
        if self._file < 0:
            raise RagIndexError(f"the journal {self._path} was closed", path=self._path)
        result = None
        size = os.fstat(self._file).st_size
        while self._end + _HEADER.size <= size:
            header = os.pread(self._file, _HEADER.size, self._end)
            length, checksum, header_checksum = _HEADER.unpack(header)
            start = self._end + _HEADER.size
            body = b""
            if header_checksum == crc32(header[:12]):
                body = os.pread(self._file, length, start)
                if start + length > size or (crc32(body) != checksum and start + length == size):
                    break  # the last record is torn, or being written
            if not body or crc32(body) != checksum:
                raise IndexDamaged(f"{self._path} is damaged at byte {self._end}", path=self._path)
            name, args, kwargs, self._now = pickle.loads(body)
            result = _OPERATIONS[name](self, *args, **kwargs)
            self._end = start + length
        return result

    def _append(self, record: tuple[str, tuple[Any, ...], dict[str, Any], float]) -> Any:
        with self._lock:
            self._read_on()
            if self._read_only:
                raise RagIndexError(f"{self._path} was opened for reading", path=self._path)
            os.ftruncate(self._file, self._end)  # a crash may have left a part of a record
            data, position = memoryview(_frame(record)), self._end
            try:
                while data:
                    written = os.pwrite(self._file, data, position)
                    data, position = data[written:], position + written
                os.fsync(self._file)
            except BaseException:
                os.ftruncate(self._file, self._end)
                raise
            return self._read_on()

    @_writes
    def _begin(self, store_id: str) -> None:
        self._id = store_id

    def storage_exists(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except OSError:
            return False

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    # -- state of the index ------------------------------------------------------------------

    @property
    @_reads
    def id(self) -> str:
        return self._id

    @property
    @_reads
    def state(self) -> IndexState:
        return self._state

    def _raise_generation(self) -> None:
        self._state = self._state._replace(generation=self._state.generation + 1)

    @_writes
    def set_embedder(self, note: str) -> None:
        self._state = self._state._replace(embedder=note)

    @_writes
    def activate_store_set(
        self,
        number: int,
        embedder: str | None = None,
        replacement: Literal["pending", "staged"] | None = None,
    ) -> None:
        if replacement is not None:
            new = [n for n, d in self._documents.items() if d.state == replacement]
            for old in self._live.values():
                self._documents[old].state = "deleted"
            self._live = {}
            self._publish(new)
        self._state = IndexState(
            self._state.generation + 1,
            number,
            self._state.embedder if embedder is None else embedder,
        )

    # -- writing documents -------------------------------------------------------------------

    def _publish(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            stored = self._documents[number]
            if (old := self._live.get(stored.document.uri)) is not None:
                self._documents[old].state = "deleted"
            stored.state = "live"
            self._live[stored.document.uri] = number

    def _drop_failures(self, uris: Iterable[str]) -> None:
        for uri in uris:
            self._failures.pop(uri, None)

    def _pending(self, numbers: Sequence[int]) -> list[int]:
        return [
            n for n in numbers if n in self._documents and self._documents[n].state == "pending"
        ]

    @_writes
    def add_pending(
        self, documents: Sequence[PendingDocument], embedder: str
    ) -> tuple[list[int], list[int]]:
        numbers, all_rows = [], []
        for document, entry, chunks, hashes, vectors in documents:
            self._last_document += 1
            rows = list(range(self._last_row + 1, self._last_row + 1 + len(chunks)))
            self._last_row += len(rows)
            for row, chunk, text_hash, vector in zip(rows, chunks, hashes, vectors, strict=True):
                self._chunks[row] = _StoredChunk(self._last_document, chunk, text_hash)
                data = np.asarray(vector, dtype=np.float32).tobytes()
                self._embeddings.setdefault((embedder, text_hash), data)
            stored = _StoredDocument(document, entry, embedder, self._now, rows)
            self._documents[self._last_document] = stored
            numbers.append(self._last_document)
            all_rows += rows
        return numbers, all_rows

    @_writes
    def make_live(self, documents: Sequence[int]) -> None:
        numbers = self._pending(documents)
        self._publish(numbers)
        self._drop_failures(self._documents[n].document.uri for n in numbers)
        self._raise_generation()

    @_writes
    def stage(self, documents: Sequence[int]) -> None:
        for number in self._pending(documents):
            self._documents[number].state = "staged"

    @_writes
    def mark_deleted(self, uris: Sequence[str]) -> int:
        numbers = [self._live.pop(uri) for uri in set(uris) if uri in self._live]
        for number in numbers:
            self._documents[number].state = "deleted"
        self._drop_failures(uris)
        if numbers:
            self._raise_generation()
        return len(numbers)

    @_writes
    def discard(self, state: Literal["pending", "staged"], *, except_embedder: str = "") -> int:
        documents = [
            stored
            for stored in self._documents.values()
            if stored.state == state
            and not (except_embedder and stored.embedder == except_embedder)
        ]
        for stored in documents:
            stored.state = "deleted"
        return len(documents)

    @_reads
    def deleted_chunk_rows(self, limit: int) -> list[int]:
        return [r.row for r in self._select("deleted", 0, limit)]

    @_writes
    def remove_chunks(self, rows: Sequence[int]) -> None:
        for row in rows:
            if chunk := self._chunks.pop(row, None):
                self._documents[chunk.document].rows.remove(row)

    @_writes
    def remove_deleted_documents(self) -> None:
        self._documents = {
            n: d for n, d in self._documents.items() if d.state != "deleted" or d.rows
        }

    # -- reading chunks ----------------------------------------------------------------------

    def _select(self, state: State, after: int, limit: int) -> list[ChunkRow]:
        rows = (
            ChunkRow(row, stored.document)
            for row, stored in self._chunks.items()  # in the order of rows, as they only grow
            if row > after and self._documents[stored.document].state == state
        )
        return list(islice(rows, limit))

    @_reads
    def chunk_rows_after(self, state: State, after: int, limit: int) -> list[ChunkRow]:
        return self._select(state, after, limit)

    def _in_state(self, rows: Sequence[int], state: State) -> dict[int, _StoredChunk]:
        chunks = {row: self._chunks[row] for row in rows if row in self._chunks}
        return {r: c for r, c in chunks.items() if self._documents[c.document].state == state}

    @_reads
    def live_documents_by_row(self, rows: Sequence[int]) -> dict[int, int]:
        return {row: stored.document for row, stored in self._in_state(rows, "live").items()}

    @_reads
    def chunks(self, rows: Sequence[int], state: State = "live") -> dict[int, Chunk]:
        return {row: stored.chunk for row, stored in self._in_state(rows, state).items()}

    @_reads
    def rows_of_documents(self, documents: Sequence[int]) -> list[int]:
        return [r for n in documents if n in self._documents for r in self._documents[n].rows]

    @_reads
    def outline(self, uri: str) -> list[ChunkSpan]:
        rows = self._documents[self._live[uri]].rows if uri in self._live else []
        chunks = ((row, self._chunks[row].chunk) for row in rows)
        spans = [ChunkSpan(row, c.start, c.end, c.headings) for row, c in chunks]
        return sorted(spans, key=lambda span: (span.start, span.row))

    # -- reading documents -------------------------------------------------------------------

    @_reads
    def document(self, uri: str) -> Document:
        if uri not in self._live:
            raise DocumentNotFound(f"there is no document {uri}", path=self._path, uri=uri)
        return self._documents[self._live[uri]].document

    def _live_documents(self, prefix: str = "") -> list[tuple[int, _StoredDocument]]:
        uris = sorted(uri for uri in self._live if uri.startswith(prefix))
        return [(self._live[uri], self._documents[self._live[uri]]) for uri in uris]

    @_reads
    def documents(self) -> list[DocumentInfo]:
        return [
            DocumentInfo(
                number=number,
                uri=stored.document.uri,
                title=stored.document.title,
                mime=stored.document.mime,
                characters=len(stored.document.text),
                chunks=len(stored.rows),
                written_at=stored.written_at,
            )
            for number, stored in self._live_documents()
        ]

    @_reads
    def documents_to_stage(self, after: int, limit: int) -> list[tuple[int, str]]:
        staged = {d.document.uri for d in self._documents.values() if d.state == "staged"}
        documents = sorted((n, u) for u, n in self._live.items() if n > after and u not in staged)
        return documents[:limit]

    @_reads
    def stats(self) -> Stats:
        live = [stored for _, stored in self._live_documents()]
        return Stats(
            documents=len(live),
            chunks=sum(len(stored.rows) for stored in live),
            characters=sum(len(stored.document.text) for stored in live),
            cached_embeddings=len(self._embeddings),
            failures=len(self._failures),
            unfinished=len(self._documents) - len(live),
        )

    # -- the ingestion ledger ----------------------------------------------------------------

    @_reads
    def sources(self, prefix: str = "") -> list[tuple[str, str, str]]:
        return [
            (stored.document.uri, stored.entry.source, stored.entry.owner_id)
            for _, stored in self._live_documents(prefix)
        ]

    @_reads
    def ledger_by_uri(self, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        return {u: self._documents[self._live[u]].entry for u in uris if u in self._live}

    @_reads
    def ledger_by_source(self, sources: Sequence[str]) -> dict[str, dict[str, LedgerEntry]]:
        wanted = set(sources)
        entries: dict[str, dict[str, LedgerEntry]] = {}
        for _, stored in self._live_documents():
            if stored.entry.source in wanted:
                entries.setdefault(stored.entry.source, {})[stored.document.uri] = stored.entry
        return entries

    @_writes
    def refresh_ledger(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        for uri, entry in entries:
            if uri in self._live:
                stored = self._documents[self._live[uri]]
                old = stored.entry
                stored.entry = replace(entry, digest=old.digest, owner_id=old.owner_id)
        self._drop_failures(uri for uri, _ in entries)

    @_writes
    def record_failures(self, failures: Sequence[FailureEntry]) -> None:
        self._failures.update({failure.uri: failure for failure in failures})

    @_reads
    def failures(self, prefix: str = "") -> list[FailureEntry]:
        return [self._failures[uri] for uri in sorted(self._failures) if uri.startswith(prefix)]

    @_writes
    def delete_failures(self, uris: Sequence[str]) -> None:
        self._drop_failures(uris)

    # -- the embedding cache -----------------------------------------------------------------

    @_reads
    def cached_embeddings(self, embedder: str, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        vectors = {h: self._embeddings.get((embedder, h)) for h in hashes}
        return {text_hash: data for text_hash, data in vectors.items() if data is not None}

    @_reads
    def vectors(self, rows: Sequence[int], embedder: str) -> tuple[list[int], Vectors]:
        known = [row for row in sorted(set(rows)) if row in self._chunks]
        vectors = {
            row: self._embeddings.get((embedder, self._chunks[row].text_hash)) for row in known
        }
        data = {row: vector for row, vector in vectors.items() if vector is not None}
        lengths = {len(vector) for vector in data.values()}
        if len(lengths) > 1 or any(length % 4 for length in lengths):
            raise IndexDamaged("the vectors have different lengths", path=self._path)
        matrix = np.frombuffer(b"".join(data.values()), dtype=np.float32)
        return list(data), matrix.reshape(len(data), -1 if data else 0)

    @_writes
    def replace_embeddings(
        self, embedder: str, rows: Sequence[int], embeddings: Sequence[tuple[bytes, bytes]]
    ) -> None:
        for row, (text_hash, vector) in zip(rows, embeddings, strict=True):
            if row in self._chunks:
                self._chunks[row] = self._chunks[row]._replace(text_hash=text_hash)
            self._embeddings[embedder, text_hash] = vector

    @_writes
    def add_embeddings(self, embedder: str, embeddings: Iterable[tuple[bytes, bytes]]) -> None:
        for text_hash, vector in embeddings:
            self._embeddings.setdefault((embedder, text_hash), vector)

    @_writes
    def delete_unused_embeddings(self) -> int:
        used = {stored.text_hash for stored in self._chunks.values()}
        unused = [key for key in self._embeddings if key[1] not in used]
        for key in unused:
            del self._embeddings[key]
        return len(unused)


# -- vectors -----------------------------------------------------------------------------------


class NumpyFiles(VectorStoreConfig):
    """Keep vectors in NumPy files, one for each write."""

    name: ClassVar[str] = "numpy-files"

    def create(self, location: StoreLocation) -> None:
        super().create(location)
        if not any(location.folder.glob("vectors-*.npz")):
            _write_vectors(location.folder, 1, [], [], np.empty((0, 0), np.float32))

    def open(self, location: StoreLocation) -> NumpyFilesStore:
        return NumpyFilesStore(location.folder)


def _write_vectors(
    folder: Path, number: int, rows: Sequence[int], documents: Sequence[int], vectors: Vectors
) -> None:
    data = BytesIO()
    np.savez(data, rows=np.array(rows, int), documents=np.array(documents, int), vectors=vectors)
    _write_atomically(folder / f"vectors-{number:08}.npz", data.getvalue())


class NumpyFilesStore(VectorStore):
    """Vectors in memory: the result of all files of a folder, in their order."""

    filters_documents: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = RLock()
        self._files = 0
        self._stored: dict[int, tuple[int, Vectors]] = {}
        self.refresh(0)

    def refresh(self, generation: int) -> None:
        with self._lock:
            paths = sorted(self._folder.glob("vectors-*.npz"))
            if not paths or not paths[-1].stem.endswith(f"-{len(paths):08}"):
                raise IndexDamaged(f"{self._folder} lacks files", path=self._folder)
            stored = dict(self._stored)
            for path in paths[self._files :]:
                try:
                    with np.load(path) as file:
                        rows, vectors = file["rows"].tolist(), file["vectors"]
                        documents = file["documents"].tolist()
                except (OSError, ValueError, KeyError, EOFError, BadZipFile) as e:
                    raise IndexDamaged(f"{path} cannot be read: {e}", path=path) from e
                for row in rows:
                    stored.pop(row, None)  # a file without vectors deletes rows
                stored |= zip(rows, zip(documents, vectors, strict=False), strict=False)
            self._stored, self._files = stored, len(paths)

    def upsert(
        self,
        rows: Sequence[int],
        documents: Sequence[int],
        vectors: Vectors,
        chunks: Sequence[Chunk],
    ) -> None:
        with self._lock:
            self.refresh(0)
            _write_vectors(self._folder, self._files + 1, rows, documents, vectors)
            self.refresh(0)

    def delete(self, rows: Sequence[int]) -> None:
        self.upsert(rows, [], np.empty((0, 0), np.float32), [])

    def query(
        self, vector: Vectors, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        stored = self._stored
        rows = [r for r, (d, _) in stored.items() if documents is None or d in documents]
        scores = [float(stored[row][1] @ vector) for row in rows]
        return sorted(zip(rows, scores, strict=True), key=lambda item: (-item[1], item[0]))[:k]

    def vectors(self, rows: Sequence[int]) -> dict[int, Vectors]:
        stored = self._stored
        return {row: stored[row][1] for row in rows if row in stored}

    def rows(self) -> list[int]:
        return list(self._stored)

    def storage_exists(self) -> bool:
        return any(self._folder.glob("vectors-*.npz"))


# -- words -------------------------------------------------------------------------------------

_SATURATION, _LENGTH_SHARE = 1.2, 0.75  # of BM25, usually named k1 and b


class JsonPostings(LexicalIndexConfig):
    """Keep stemmed chunks in one JSON file, and their postings in memory."""

    name: ClassVar[str] = "json-postings"

    def create(self, location: StoreLocation) -> None:
        super().create(location)
        if not (location.folder / "postings.json").exists():
            _write_atomically(location.folder / "postings.json", b"[]")

    def open(self, location: StoreLocation) -> JsonPostingsIndex:
        return JsonPostingsIndex(location.folder / "postings.json")


class _Postings:
    """How often each chunk has each stem. Never changed, so threads can read it."""

    def __init__(self, entries: list[StemmedEntry]) -> None:
        self.entries = entries
        self.counts: dict[tuple[str, str], dict[int, int]] = {}
        self.mean_length: dict[str, float] = {}
        for name in ("title", "body", "forms"):
            texts: list[list[str]] = [getattr(entry, name) for entry in entries]
            for i, text in enumerate(texts):
                for stem, count in Counter(text).items():
                    self.counts.setdefault((name, stem), {})[i] = count
            self.mean_length[name] = sum(map(len, texts)) / max(1, len(texts))
        languages = Counter(entry.language for entry in entries)
        self.languages = [language for language, _ in languages.most_common()]

    def count_chunks(self, name: str, stem: str) -> int:
        return len(self.counts.get((name, stem), ()))

    def idf(self, name: str, stem: str) -> float:
        count = self.count_chunks(name, stem)
        return compute_idf(count, len(self.entries)) if count else 0.0

    def search(self, query: BM25Query) -> dict[int, float]:
        """Return the scores of all matching chunks, by their position."""
        totals: dict[int, float] = defaultdict(float)
        chunk_count = len(self.entries)
        for clause in plan_query(query, self.languages, self.count_chunks, chunk_count):
            best: dict[int, float] = {}
            for scores in self._score_forms(clause):
                best |= {i: max(best.get(i, 0.0), score) for i, score in scores.items()}
            for i, score in best.items():
                totals[i] += score
        return totals

    def _score_forms(self, clause: WordClause | PhraseClause) -> Iterable[dict[int, float]]:
        if isinstance(clause, PhraseClause):
            for form in clause.forms:
                idf = sum(self.idf("body", stem) for stem in form)
                yield self._score("body", self._count_phrase(form), idf)
        else:
            for stem, boost in clause.boosts.items():
                counts = self.counts.get((clause.field, stem), {})
                yield self._score(clause.field, counts, boost * self.idf(clause.field, stem))

    def _count_phrase(self, form: tuple[str, ...]) -> dict[int, int]:
        candidates = set.intersection(*(set(self.counts.get(("body", s), ())) for s in form))
        counts = {}
        for i in candidates:
            body = self.entries[i].body
            counts[i] = sum(tuple(body[j : j + len(form)]) == form for j in range(len(body)))
        return {i: count for i, count in counts.items() if count}

    def _score(self, name: str, counts: dict[int, int], weight: float) -> dict[int, float]:
        scores = {}
        for i, count in counts.items():
            length = len(getattr(self.entries[i], name)) / self.mean_length[name]
            norm = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length)
            scores[i] = weight * count * (_SATURATION + 1) / (count + norm)
        return scores


class JsonPostingsIndex(LexicalIndex):
    """BM25 over the stemmed chunks of a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._version: tuple[int, int, int] | None = None
        self._uncommitted: list[StemmedEntry] | None = None
        self.refresh(0)

    def refresh(self, generation: int) -> None:
        with self._lock:
            try:
                status = self._path.stat()
                version = (status.st_ino, status.st_size, status.st_mtime_ns)
                if version != self._version:
                    entries = json.loads(self._path.read_bytes())
                    self._postings = _Postings([StemmedEntry(*entry) for entry in entries])
                    self._version = version
            except (OSError, ValueError, TypeError) as e:
                raise IndexDamaged(f"{self._path} cannot be read: {e}", path=self._path) from e

    def _begin(self) -> list[StemmedEntry]:
        if self._uncommitted is None:
            self.refresh(0)
            self._uncommitted = list(self._postings.entries)
        return self._uncommitted

    def add(self, entries: Iterable[LexicalEntry]) -> None:
        with self._lock:
            self._begin().extend(stem_entries(entries))

    def delete(self, rows: Sequence[int]) -> None:
        with self._lock:
            deleted = set(rows)
            self._uncommitted = [entry for entry in self._begin() if entry.row not in deleted]

    def commit(self) -> None:
        with self._lock:
            if self._uncommitted is not None:
                _write_atomically(self._path, json.dumps(self._uncommitted).encode())
                self.end_writing()
                self.refresh(0)

    def end_writing(self) -> None:
        with self._lock:
            self._uncommitted = None

    def search(
        self, query: BM25Query, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        postings = self._postings
        scores = {
            postings.entries[i].row: score
            for i, score in postings.search(query).items()
            if documents is None or postings.entries[i].document in documents
        }
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]

    def scores(self, query: BM25Query, rows: Sequence[int]) -> dict[int, float]:
        scores = dict(self.search(query, len(self._postings.entries)))
        return {row: scores[row] for row in rows if row in scores}

    def inverse_document_frequency(self, stem: str) -> float:
        return self._postings.idf("body", stem)

    def languages(self) -> list[str]:
        return self._postings.languages

    def rows(self) -> list[int]:
        return [entry.row for entry in self._postings.entries]

    def storage_exists(self) -> bool:
        return self._path.exists()
