"""The index: document store, vector store and lexical index, kept consistent.

This module has opening, searching and the single writer; `rag.index.commit_protocol` has the
writes, and the order of their steps that makes a crash harmless.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag.embedding.base import Embedder, embedding_span
from rag.errors import ConfigError, EmbedderMismatch, IndexDamaged, RagIndexError
from rag.filters import Filter, Where
from rag.index.commit_protocol import IndexWriter, describe_embedder
from rag.index.embedder_probe import EmbedderProbe, make_length_error
from rag.index.live_rows import LiveRows
from rag.index.paths import (
    check_document_store_kind,
    locate_document_store,
    make_folder,
    namespace_folder,
    require_document_store,
)
from rag.index.store_set import StoreSet
from rag.index.vector_cache import VectorCache
from rag.index.write_lock import hold_write_lock
from rag.rwlock import RWLock
from rag.stores.chroma import Chroma
from rag.stores.document_store import DocumentStore, DocumentStoreConfig, IndexState
from rag.stores.exact import Exact, ExactVectorStore, compute_cosines
from rag.stores.lexical_index import (
    LexicalIndex,
    LexicalIndexConfig,
    LexicalQuery,
    SparseQuery,
)
from rag.stores.sqlite import Sqlite
from rag.stores.tantivy import Tantivy
from rag.stores.vector_store import VectorStore, VectorStoreConfig
from rag.types import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")
_U = TypeVar("_U")

EXACT_SEARCH_MAX_BYTES = 64 * 2**20
"""Bytes of vectors up to which search is exact: 65,000 chunks with vectors of 256 values."""
_CHUNKS_PER_COMPARISON = 5_000
_MAX_COMPARED_CHUNKS = 4_000  # up to here, comparing all chunks is faster than a graph search
_READ_THREADS = 8
_MAX_CACHED_FILTERS = 100
_MAX_CACHED_QUERIES = 256
_MAX_CACHED_RESULTS = 256
_MAX_CACHED_FILTER_DOCUMENTS = 300_000  # documents of all cached filters together


class Index:
    """An index in the folder `path`, searched and written with one embedder.

    Threads may share it. Opening raises `IndexNotFound` if there is no index and `create` is not
    set, `EmbedderMismatch` if it was built with another embedder (with `create`, searches and
    writers raise it), `IndexDamaged` if a store cannot be read.

    `document_store`, `vector_store` and `lexical_index` configure the stores (default: SQLite,
    embedded Chroma and tantivy, in the folder). Raises `ConfigError` for stores that cannot work
    together. A `namespace` is a separate index within the folder: no filter reaches documents
    outside it.
    """

    def __init__(
        self,
        path: Path,
        embedder: Embedder,
        *,
        create: bool = False,
        document_store: DocumentStoreConfig | None = None,
        vector_store: VectorStoreConfig | None = None,
        lexical_index: LexicalIndexConfig | None = None,
        namespace: str = "",
    ) -> None:
        document_config = document_store or Sqlite()
        self.vector_config = vector_store or Chroma()
        self.lexical_config = lexical_index or Tantivy()
        check_stores(document_config, self.vector_config, self.lexical_config)
        check_document_store_kind(path, document_config)
        if create:
            make_folder(path, namespace, document_config)
        else:
            require_document_store(path, namespace, document_config)
        self.root = path.absolute()  # stays valid if the working directory changes
        self.path = namespace_folder(self.root, namespace)
        self.embedder = embedder
        self.fingerprint = embedder.fingerprint
        self.document_store: DocumentStore = document_config.open(
            locate_document_store(self.root, namespace), create=create
        )
        self._usage_lock, self._switch_lock = RWLock(), threading.RLock()
        self._vector_cache = VectorCache(self.document_store, self.fingerprint)
        self._live_rows = LiveRows(self.document_store)
        self._last_state = self.document_store.state
        self._store_set = self.open_store_set(self._last_state.store_set_number)
        self._is_writing = False
        self._chunk_count_cache = (-1, 0)
        self._filter_cache: tuple[int, dict[str, Mapping[int, int]]] = (-1, {})
        self._read_pool = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="citewell-search")
        self._query_vectors: dict[str, NDArray[np.float32]] = {}
        self._result_cache: tuple[int, dict[str, Any]] = (-1, {})
        self._vector_length: int | None = None
        self.probe = EmbedderProbe(self.path, embedder)
        self._closed = False
        self._process_id = os.getpid()
        self._closing_lock = RWLock()
        if not create:
            self._check_embedder(self._last_state)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the files open for several reads: `close` waits for the end of the block.

        Raises `RagIndexError` in a fork of the process that opened the index.
        """
        self._check_process()
        with self._closing_lock.read():
            yield

    def _check_process(self) -> None:
        if os.getpid() != self._process_id:
            raise RagIndexError(
                f"the index at {self.path} was opened before this process was forked, and its "
                "stores do not survive that: open a new pipeline in the child process, before or "
                "without the parent's, or start the child with 'spawn'",
                path=self.path,
            )

    def close(self) -> None:
        """Close all files after the running searches and the ingest end."""
        if os.getpid() != self._process_id:
            return  # the files are those of the parent process
        with self._closing_lock.write(), self._usage_lock.write():
            self._closed = True
            self._read_pool.shutdown()
            self._store_set.close()
            self.document_store.close()

    def _check_embedder(self, state: IndexState) -> None:
        if self.has_other_embedder(state):
            built = json.loads(state.embedder)["name"]
            raise EmbedderMismatch.of(self.path, built, describe_embedder(self.embedder))

    def has_other_embedder(self, state: IndexState) -> bool:
        """Whether the vectors of `state` are from another embedder than that of this index."""
        return bool(state.embedder) and state.embedder_fingerprint != self.fingerprint

    def open_store_set(self, number: int) -> StoreSet:
        """Return store set `number` of this index."""
        return StoreSet(
            self.path, number, self.document_store, self.vector_config, self.lexical_config
        )

    @property
    def store_set(self) -> StoreSet:
        """Store set in use."""
        if self._closed:
            raise RagIndexError(f"the index at {self.path} was closed while in use", path=self.path)
        return self._store_set

    @property
    def vectors(self) -> VectorStore:
        """Vector store, opened at first use."""
        return self.store_set.vectors

    @property
    def lexical(self) -> LexicalIndex:
        """Lexical index, opened at first use."""
        return self.store_set.lexical

    # -- searching -------------------------------------------------------------------------

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector ``[dimension]`` of a query; that of a recent query is cached."""
        with self._switch_lock:
            if (vector := self._query_vectors.get(text)) is not None:
                return vector
        with embedding_span(self.embedder, 1):
            vector = self.embedder.embed_query(text)
        self.check_vector_length(len(vector))
        self._cache_query_vectors({text: vector})
        return vector

    def embed_queries(self, texts: Sequence[str]) -> None:
        """Embed many queries in one batch, for the searches that follow."""
        with self._switch_lock:
            new_texts = [t for t in dict.fromkeys(texts) if t not in self._query_vectors]
        if new_texts:
            with embedding_span(self.embedder, len(new_texts)):
                vectors = self.embedder.embed_queries(new_texts)
            self.check_vector_length(vectors.shape[1])
            self._cache_query_vectors(dict(zip(new_texts, vectors, strict=True)))

    def check_vector_length(self, length: int) -> None:
        """Raise `EmbedderMismatch` if the index has vectors of another length."""
        if self._vector_length != length:
            self._vector_length = self._find_vector_length()
        if self._vector_length not in (None, length):
            raise make_length_error(self.path, self.embedder, self._vector_length, length)

    def forget_vectors(self) -> None:
        """Forget the vectors of recent queries, after all texts were embedded again."""
        with self._switch_lock:
            self._query_vectors.clear()
            self._vector_length = None
            self._vector_cache = VectorCache(self.document_store, self.fingerprint)

    def _find_vector_length(self) -> int | None:
        """Return the length of a stored vector of the embedder; None if there is none."""
        rows = [row.row for row in self.document_store.chunk_rows_after("live", 0, 1)]
        found_rows, vectors = self.document_store.vectors(rows, self.fingerprint)
        return int(vectors.shape[1]) if found_rows else None

    def _cache_query_vectors(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        with self._switch_lock:
            self._query_vectors |= vectors
            limit = max(_MAX_CACHED_QUERIES, len(vectors))
            for text in list(self._query_vectors)[:-limit]:
                del self._query_vectors[text]

    def read_consistent(self, search: Callable[[], _T]) -> _T:
        """Run `search` so that all its reads see one state of the index.

        Between two reads, another process may make documents live or switch to a new store set:
        then hits of the old version no longer exist, and the new version was not searched. In that
        case `search` is run again, up to five times. Raises `EmbedderMismatch` if the index was
        re-embedded with another embedder.
        """
        self._check_process()
        for is_last_attempt in (False, False, False, False, True):
            with self._switch_lock:
                state = self.document_store.state
                self._follow_state(state)
                store_set = self._store_set

            def is_unchanged(state: IndexState = state, store_set: StoreSet = store_set) -> bool:
                return (
                    self.document_store.generation == state.generation
                    and self._store_set is store_set
                )

            try:
                with self._usage_lock.read():
                    result = search()
            except IndexDamaged:
                if is_last_attempt or is_unchanged():
                    raise
                continue
            if is_unchanged():
                break
        return result

    def run_parallel(self, first: Callable[[], _T], second: Callable[[], _U]) -> tuple[_T, _U]:
        """Run two reads of a search and return their results; in parallel if that is faster.

        In a small index, handing a read to another thread takes longer than the read itself.
        """
        if self.uses_exact_search():
            return first(), second()
        future = self._read_pool.submit(second)
        try:
            return first(), future.result()
        finally:
            if not future.cancel():
                wait([future])  # no read of a search may run after its end

    def _follow_state(self, state: IndexState) -> None:
        """Make the store set show all writes up to `state`, of any process."""
        self._check_storage_exists()
        self._check_embedder(state)
        if self._is_writing:
            return
        if state.store_set_number != self._store_set.number:
            self.use_store_set(self.open_store_set(state.store_set_number))
        elif state.generation != self._last_state.generation:
            self._store_set.refresh(state.generation)
        self._last_state = state

    def _check_storage_exists(self) -> None:
        if not self._closed and not self.document_store.storage_exists():
            raise RagIndexError(
                f"the index at {self.path} was deleted or replaced while it was open: open it "
                "again",
                path=self.path,
            )

    def pause_new_searches(self) -> AbstractContextManager[object]:
        """Make new searches wait while document store and store set are switched together."""
        return self._switch_lock

    def use_store_set(self, store_set: StoreSet) -> None:
        """Search in `store_set` from now on, and close the old store set."""
        with self._switch_lock:
            old, self._store_set = self._store_set, store_set
            self._vector_cache = VectorCache(self.document_store, self.fingerprint)
            old.close()

    def cache_result(self, key: str, compute: Callable[[], _T]) -> _T:
        """Return the result of `compute`, which is cached under `key` until the index changes."""
        generation = self.document_store.generation
        with self._switch_lock:
            if self._result_cache[0] != generation:
                self._result_cache = (generation, {})
            cache = self._result_cache[1]
            if key in cache:
                return cache[key]  # type: ignore[no-any-return]
        result = compute()
        with self._switch_lock:
            cache[key] = result
            while len(cache) > _MAX_CACHED_RESULTS:
                del cache[next(iter(cache))]
        return result

    def search_dense(
        self,
        vector: NDArray[np.float32],
        k: int,
        where: Where | None = None,
        documents: Collection[int] | None = None,
    ) -> list[tuple[int, float]]:
        """Return up to `k` live chunks (row, cosine) nearest to `vector`, best first.

        With `documents`, only of the documents with these numbers.

        Up to 64 MiB of vectors, the search is exact, because Chroma's graph misses some of the
        nearest. Above that, a vector store that does not filter itself searches for so many that
        about `k` of them pass the filter. If the filter selects few chunks, all of these are
        compared.
        """
        allowed = self._matching_documents(where)
        if documents is not None and not self.uses_exact_search():
            return self._search_rows(vector, self._list_rows(documents, allowed), k)
        if documents is not None:
            allowed = {n: 0 for n in documents if allowed is None or n in allowed}
        if self.uses_exact_search():
            exact_store = self._load_exact_store()
            return self._search_live(lambda n: exact_store.query(vector, n, allowed), k)
        if self.vectors.filters_documents:
            return self._search_live(lambda n: self.vectors.query(vector, n, allowed), k)
        if allowed is None:
            limit = k
        else:
            allowed_chunks = sum(allowed.values())
            if allowed_chunks <= _MAX_COMPARED_CHUNKS:
                return self._search_rows(
                    vector, self.document_store.rows_of_documents(list(allowed)), k
                )
            limit = k * self.document_store.chunk_count() * 3 // (allowed_chunks * 2)
        return self._search_vector_store(vector, k, limit, allowed)

    def _load_exact_store(self) -> ExactVectorStore:
        """Return the vectors in memory: the vector store itself, or a cache of a small index."""
        if isinstance(store := self._exact_vector_store, ExactVectorStore):
            return store
        return self._vector_cache.load_current()

    @property
    def _exact_vector_store(self) -> VectorStore | None:
        """The vector store if it is in memory and exact."""
        return self.vectors if self.vector_config.name == Exact.name else None

    def _matching_documents(self, where: Where | None) -> Mapping[int, int] | None:
        """Return the chunk counts of the documents that `where` selects; None without a filter.

        The results of recent filters are cached until the index changes.
        """
        if where is None or where == {}:
            return None
        where = Filter.of(where)
        generation = self.document_store.generation
        key = json.dumps(where.to_json())
        with self._switch_lock:
            if self._filter_cache[0] != generation:
                self._filter_cache = (generation, {})
            cache = self._filter_cache[1]
            chunk_counts = cache.pop(key, None)
            if chunk_counts is not None:
                cache[key] = chunk_counts  # the least recently used is dropped first
                return chunk_counts
        chunk_counts = self.document_store.matching_documents(where)
        with self._switch_lock:
            cache[key] = chunk_counts
            while (
                sum(map(len, cache.values())) > _MAX_CACHED_FILTER_DOCUMENTS
                or len(cache) > _MAX_CACHED_FILTERS
            ):
                del cache[next(iter(cache))]
        return chunk_counts

    def count_matching_documents(self, where: Where | None) -> int:
        """Return the number of live documents that `where` selects. Raises `QueryError`."""
        matching = self._matching_documents(where)
        return self.document_store.document_count() if matching is None else len(matching)

    def uses_exact_search(self) -> bool:
        """Whether a dense search compares the query with all vectors, in memory."""
        if self.vector_config.name == Exact.name:
            return True
        generation = self.document_store.generation
        if self._chunk_count_cache[0] != generation:
            self._chunk_count_cache = (generation, self.document_store.chunk_count())
        return self._chunk_count_cache[1] * self.embedder.dimension * 4 <= EXACT_SEARCH_MAX_BYTES

    def _search_live(
        self, search: Callable[[int], list[tuple[int, float]]], k: int
    ) -> list[tuple[int, float]]:
        """Return the best `k` live hits of `search`, called with growing limits until enough."""
        limit = k
        while True:
            candidates = search(limit)
            live = self.documents_by_row([row for row, _ in candidates])
            hits = [(row, score) for row, score in candidates if row in live]
            if len(hits) >= k or len(candidates) < limit:
                return hits[:k]
            limit *= 4

    def _search_vector_store(
        self,
        vector: NDArray[np.float32],
        k: int,
        limit: int,
        allowed: Mapping[int, int] | None,
    ) -> list[tuple[int, float]]:
        """Query the vector store with growing limits until `k` hits are live and allowed.

        If its own limit is too low for that, all live and allowed chunks are compared.
        """
        while limit <= self.vectors.max_query_results:
            candidates = self.vectors.query(vector, limit)
            owners = self.documents_by_row([row for row, _ in candidates])
            hits = [
                (row, score)
                for row, score in candidates
                if row in owners and (allowed is None or owners[row] in allowed)
            ]
            if len(hits) >= k or len(candidates) < limit:
                return hits[:k]
            limit *= 4
        if allowed is None:
            return self._search_rows(vector, list(self.document_store.live_rows()), k)
        return self._search_rows(vector, self.document_store.rows_of_documents(list(allowed)), k)

    def _search_rows(
        self, vector: NDArray[np.float32], rows: Sequence[int], k: int
    ) -> list[tuple[int, float]]:
        """Return the best `k` of `rows` by exact comparison, a batch of rows at a time."""
        best: list[tuple[int, float]] = []
        for i in range(0, len(rows), _CHUNKS_PER_COMPARISON):
            best += self.dense_scores(vector, rows[i : i + _CHUNKS_PER_COMPARISON]).items()
            best = sorted(best, key=lambda item: (-item[1], item[0]))[:k]
        return best

    def _list_rows(
        self, documents: Collection[int], allowed: Mapping[int, int] | None
    ) -> list[int]:
        """Return the live chunks of `documents` that are also among those `allowed`."""
        numbers = [n for n in documents if allowed is None or n in allowed]
        rows = self.document_store.rows_of_documents(numbers)
        return sorted(self.documents_by_row(rows))

    def search_lexical(
        self,
        query: LexicalQuery,
        k: int,
        where: Where | None = None,
        documents: Collection[int] | None = None,
    ) -> list[tuple[int, float]]:
        """Return up to `k` live chunks (row, score) that match `query`, best first.

        With `documents`, only of the documents with these numbers.
        """
        allowed = self._matching_documents(where)
        if documents is None:
            documents = None if allowed is None else list(allowed)
        elif allowed is not None:
            documents = [number for number in documents if number in allowed]
        return self._search_live(lambda n: self.lexical.search(query, n, documents), k)

    def build_sparse_query(self, text: str) -> SparseQuery:
        """Encode a question for `search_lexical`.

        Raises `ConfigError` if the index has no sparse vectors, or those of another encoder.
        """
        encoder = self.lexical.sparse_encoder
        if encoder is None:
            raise ConfigError(
                "this index has no sparse vectors of the configured encoder: set sparse_encoder in"
                " lexical_index (for example tantivy with a model of sentence-transformers) and run"
                " the ingest again"
            )
        weights = encoder.encode_query(text)
        return SparseQuery(tuple(sorted(weights.items())))

    def vectors_of_rows(self, rows: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return those chunks of `rows` that have a vector, and the vectors ``[n, dimension]``."""
        if self.uses_exact_search():
            return self._load_exact_store().matrix(rows)
        return self.document_store.vectors(rows, self.fingerprint)

    def vectors_of_chunks(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Return vectors ``[len(chunks), dimension]``; zeros for chunks not in this index.

        A chunk is found by its uri and span.
        """
        import numpy as np

        rows: list[int | None] = []
        outlines: dict[str, dict[tuple[int, int], int]] = {}
        for chunk in chunks:
            if chunk.uri not in outlines:
                outline = self.document_store.outline(chunk.uri)
                outlines[chunk.uri] = {(s.start, s.end): s.row for s in outline}
            rows.append(outlines[chunk.uri].get((chunk.start, chunk.end)))
        vector_rows, matrix = self.vectors_of_rows(sorted({row for row in rows if row is not None}))
        positions = {row: i for i, row in enumerate(vector_rows)}
        vectors = np.zeros((len(chunks), self.embedder.dimension), dtype=np.float32)
        for i, row in enumerate(rows):
            if row in positions:
                vectors[i] = matrix[positions[row]]
        return vectors

    def dense_scores(self, vector: NDArray[np.float32], rows: Sequence[int]) -> dict[int, float]:
        """Return the cosine of `vector` with each of the chunks `rows`, by row."""
        vector_rows, matrix = self.vectors_of_rows(rows)
        if not vector_rows:
            return {}
        return dict(zip(vector_rows, compute_cosines(matrix, vector).tolist(), strict=True))

    def lexical_scores(self, query: LexicalQuery, rows: Sequence[int]) -> dict[int, float]:
        """Return the scores of those chunks of `rows` that match `query`, by row."""
        return self.lexical.scores(query, rows)

    def documents_by_row(self, rows: Sequence[int]) -> dict[int, int]:
        """Return the document number of those chunks of `rows` that are live, by row."""
        return self._live_rows.find_documents(rows)

    def headings_by_row(self, rows: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return the headings above those chunks of `rows` that are live, from the top, by row."""
        return self.document_store.headings_by_row(rows)

    def chunks(self, rows: Sequence[int]) -> dict[int, Chunk]:
        """Return those chunks of `rows` that are live, by row."""
        return self.document_store.chunks(rows)

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def open_writer(self, *, allow_other_embedder: bool = False) -> Iterator[IndexWriter]:
        """Hold the write lock and yield the writer.

        First repairs what an interrupted run left. Raises `IndexLocked` at once if another writer
        holds the lock. With `allow_other_embedder`, the index may have vectors of another
        embedder; then call `IndexWriter.adopt_embedder` before other writes.
        """
        self._check_process()
        with self._usage_lock.read(), hold_write_lock(self.path):
            self._check_storage_exists()
            state = self.document_store.state
            if not state.embedder:
                self.document_store.set_embedder(self.embedder_note())
            elif not allow_other_embedder:
                self._check_embedder(state)
            self._open_for_writing(state)
            self._is_writing = True  # our own store set sees our writes without a refresh
            writer = IndexWriter(self)
            try:
                writer.recover()
                yield writer
                with suppress(IndexDamaged):  # the next writer tries again
                    writer.merge_lexical_index()
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise RagIndexError.disk_full(self.path) from error
                reason = error.strerror or error
                raise RagIndexError(
                    f"cannot write the index at {self.path}: {reason}", path=self.path
                ) from error
            finally:
                try:
                    writer.close()
                finally:
                    self._last_state = self.document_store.state
                    self._is_writing = False

    def _open_for_writing(self, state: IndexState) -> None:
        """Open the store set of `state` in its current state; reopen it if it is damaged."""
        with self._switch_lock:
            try:
                if (
                    state.store_set_number == self._store_set.number
                    and self._store_set.storage_exists()
                ):
                    self._store_set.refresh(state.generation)
                    return
            except IndexDamaged:
                pass
            self.use_store_set(self.open_store_set(state.store_set_number))

    def embedder_note(self) -> str:
        """Return the JSON note about the embedder that the index stores."""
        return json.dumps(
            {
                "fingerprint": self.fingerprint,
                "name": describe_embedder(self.embedder),
                "config": self.embedder.config(),
            }
        )

    def check_store_set(self) -> None:
        """Raise `IndexDamaged` if a store that searches use has fewer chunks than are live."""
        live = self.document_store.chunk_count()
        counts = {self.lexical_config.name: self.lexical.count()} if live else {}
        if not self.uses_exact_search():
            counts[self.vector_config.name] = self.vectors.count()
        for name, count in counts.items():
            if count < live:
                raise IndexDamaged(
                    f"the {name} store of {self.path} has {count:,} of {live:,} chunks: "
                    f"{IndexDamaged.REFILL_HINT}",
                    path=self.path,
                )


def open_document_store(
    path: Path, namespace: str = "", config: DocumentStoreConfig | None = None
) -> DocumentStore:
    """Open only the document store of the index in `path`, for reading.

    Needs no embedder and no other store. Raises `IndexNotFound` or `IndexDamaged`.
    """
    document_config = config or Sqlite()
    check_document_store_kind(path, document_config)
    require_document_store(path, namespace, document_config)
    return document_config.open(locate_document_store(path, namespace), read_only=True)


def check_stores(
    document_store: DocumentStoreConfig,
    vector_store: VectorStoreConfig,
    lexical_index: LexicalIndexConfig,
) -> None:
    """Raise `ConfigError` if these stores cannot work together.

    Documents in memory are gone when the process ends; a store that stays would then hold chunks
    of documents that no longer exist.
    """
    if document_store.is_persistent:
        return
    for config, alternative in ((vector_store, "exact"), (lexical_index, "memory")):
        if config.is_persistent:
            kind = config.kind
            raise ConfigError(
                f"document_store {document_store.name!r} is gone when the process ends, and "
                f"{kind} {config.name!r} stays: use a {kind} in memory, such as {alternative!r}"
            )
