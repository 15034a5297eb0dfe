"""The index: library, vectors and lexical index, kept in agreement.

A batch is written in this order, and a crash at any point leaves an index that searches answer
from as before, and that the next writer puts right:

1. documents, chunks and new embeddings into the library, as *pending*, in one transaction;
2. vectors into Chroma, words into tantivy;
3. the new documents *live* and the ones they replace *doomed*, in one transaction;
4. chunks of doomed documents out of Chroma and tantivy, then out of the library.
"""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rag.embedding.base import Embedder
from rag.errors import EmbedderMismatch, IndexDamaged, RagIndexError
from rag.filters import Filter, Where
from rag.index.commit_protocol import Writer, describe
from rag.index.paths import LIBRARY, make_folder, namespace_folder, require_library
from rag.index.store_set import StoreSet
from rag.index.write_lock import write_lock
from rag.rwlock import RWLock
from rag.stores.chroma import Chroma, ChromaCollection, VectorStore
from rag.stores.exact import ExactVectorStore, cosines
from rag.stores.sqlite import IndexState, SqliteDocumentStore
from rag.types import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.stores.tantivy import BM25Query, TantivyIndex

_T = TypeVar("_T")
_U = TypeVar("_U")

_EXACT = 64 * 2**20  # bytes of vectors up to which each is compared: 65,000 chunks of 256 values
_MANY = 5_000  # chunks compared at a time
_FEW = 4_000  # chunks that are quicker compared than looked for in a graph
_READERS = 8  # searches whose two halves run beside each other
_FILTERS, _FILTERED = 100, 300_000  # filters and, in all, documents of theirs remembered


class Index:
    """An index in the folder `path`, searched and written with one embedder.

    May be shared by threads. Opening raises `IndexNotFound` where there is none and `create` is
    not set, `EmbedderMismatch` where it was built with another embedder (with `create`, that is
    left to searches and writers), `IndexDamaged` where a store cannot be read.

    A `namespace` is an index of its own within the folder: no filter leads out of it.
    """

    def __init__(
        self,
        path: Path,
        embedder: Embedder,
        *,
        create: bool = False,
        vectors: VectorStore | None = None,
        namespace: str = "",
    ) -> None:
        if create:
            make_folder(path, namespace)
        self.root = path.absolute()  # whatever becomes of the working directory
        self.path = namespace_folder(self.root, namespace)
        if not create:
            require_library(path, namespace)
        self.embedder = embedder
        self.fingerprint = embedder.fingerprint
        self.vector_store_config = vectors if isinstance(vectors, Chroma) else Chroma()
        self.document_store = SqliteDocumentStore(self.path / LIBRARY, create=create)
        self._gate, self._opening = RWLock(), threading.RLock()
        self._exact = ExactVectorStore(self.document_store, self.fingerprint)
        self._seen = self.document_store.state
        self._derived = self.open_store_set(self._seen.derived)
        self._writing = False
        self._counted = (-1, 0)
        self._filters: tuple[int, dict[str, Mapping[int, int]]] = (-1, {})
        self._beside = ThreadPoolExecutor(_READERS, thread_name_prefix="citewell-search")
        self._closed = False
        if not create:
            self._check_embedder(self._seen)

    def close(self) -> None:
        """Let go of every file, when the searches and the ingest in it are done."""
        with self._gate.write():
            self._closed = True
            self._beside.shutdown()
            self._derived.close()
            self.document_store.close()

    def _check_embedder(self, state: IndexState) -> None:
        if self.has_other_embedder(state):
            built = json.loads(state.embedder)["name"]
            raise EmbedderMismatch.of(self.path, built, describe(self.embedder))

    def has_other_embedder(self, state: IndexState) -> bool:
        """Whether the vectors in that state are from another embedder than this index has."""
        return bool(state.embedder) and self.fingerprint_in(state) != self.fingerprint

    def fingerprint_in(self, state: IndexState) -> str:
        """Fingerprint of the embedder that the vectors in that state are from."""
        return str(json.loads(state.embedder)["fingerprint"]) if state.embedder else ""

    def open_store_set(self, number: int) -> StoreSet:
        """Set `number` of the derived stores."""
        return StoreSet(
            self.path, number, self.vector_store_config, self.document_store.meta("id") or ""
        )

    @property
    def stores(self) -> StoreSet:
        """The derived stores in use."""
        if self._closed:
            raise RagIndexError(f"the index at {self.path} was closed while in use")
        return self._derived

    @property
    def vectors(self) -> ChromaCollection:
        """The vector store, opened when first used."""
        return self.stores.vectors

    @property
    def lexical(self) -> TantivyIndex:
        """The lexical index, opened when first used."""
        return self.stores.lexical

    # -- searching -------------------------------------------------------------------------

    def read_consistent(self, search: Callable[[], _T]) -> _T:
        """Run `search` so that all of its reads are of one state of the index.

        Another process may make documents live between two reads, or put new stores in place of
        those in use: then what was found of the old version is gone and the new one was not
        looked for. So it is run again. Raises `EmbedderMismatch` where the index has passed to
        another embedder.
        """
        for last in (False, False, False, False, True):
            with self._opening:
                state = self.document_store.state
                self._see(state)
                stores = self._derived

            def unchanged(state: IndexState = state, stores: StoreSet = stores) -> bool:
                return (
                    self.document_store.generation == state.generation and self._derived is stores
                )

            try:
                with self._gate.read():
                    found = search()
            except IndexDamaged:
                if last or unchanged():
                    raise
                continue
            if unchanged():
                break
        return found

    def run_parallel(self, one: Callable[[], _T], other: Callable[[], _U]) -> tuple[_T, _U]:
        """The results of two reads of a search; beside each other where that is quicker.

        Where the index is small, handing one to another thread takes longer than doing it.
        """
        if self.uses_exact_search():
            return one(), other()
        later = self._beside.submit(other)
        try:
            return one(), later.result()
        finally:
            if not later.cancel():
                wait([later])  # nothing of a search goes on after it

    def _see(self, state: IndexState) -> None:
        """Let the derived stores show what has been written up to `state`, by whomever."""
        self._check_there()
        self._check_embedder(state)
        if self._writing:
            return
        if state.derived != self._derived.number:
            self.use_stores(self.open_store_set(state.derived))
        elif state.generation != self._seen.generation:
            self._derived.refresh(state.generation)
        self._seen = state

    def _check_there(self) -> None:
        if not self._closed and not self.document_store.file_exists():
            raise RagIndexError(
                f"the index at {self.path} was deleted or replaced while it was open: open it anew"
            )

    def switching(self) -> AbstractContextManager[object]:
        """What the library and the stores in use are changed together within: no search begins."""
        return self._opening

    def use_stores(self, fresh: StoreSet) -> None:
        """Search in other stores from now on; the old ones are closed."""
        with self._opening:
            old, self._derived = self._derived, fresh
            self._exact = ExactVectorStore(self.document_store, self.fingerprint)
            old.close()

    def search_dense(
        self, vector: NDArray[np.float32], k: int, where: Where | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` live chunks (row, cosine) nearest to `vector`, best first.

        Up to 64 MiB of vectors, each is compared: Chroma's graph misses some of the nearest. With
        more, Chroma is asked, for as many as will leave `k` behind a filter; where a filter leaves
        too few for that, each of these is compared.
        """
        allowed = self._matching(where)
        if self.uses_exact_search():
            return self._live(lambda n: self._exact.search(vector, n, allowed), k)
        if allowed is None:
            wanted = k
        else:
            few = sum(allowed.values())
            if few <= _FEW:
                return self._compare(vector, self.document_store.rows_of(list(allowed)), k)
            wanted = k * self.document_store.chunk_count() * 3 // (few * 2)
        return self._search_chroma(vector, k, wanted, allowed)

    def _matching(self, where: Where | None) -> Mapping[int, int] | None:
        """Documents that `where` selects, by number of chunks; remembered while nothing changes."""
        if where is None or where == {}:
            return None
        where = Filter.of(where)
        generation = self.document_store.generation
        key = json.dumps(where.to_json())
        with self._opening:
            if self._filters[0] != generation:
                self._filters = (generation, {})
            remembered = self._filters[1]
            known = remembered.pop(key, None)
            if known is not None:
                remembered[key] = known  # the last one used is the last one forgotten
                return known
        known = self.document_store.matching_documents(where)
        with self._opening:
            remembered[key] = known
            while sum(map(len, remembered.values())) > _FILTERED or len(remembered) > _FILTERS:
                del remembered[next(iter(remembered))]
        return known

    def uses_exact_search(self) -> bool:
        """Whether a search compares the question with every vector, and leaves Chroma alone."""
        generation = self.document_store.generation
        if self._counted[0] != generation:
            self._counted = (generation, self.document_store.chunk_count())
        return self._counted[1] * self.embedder.dimension * 4 <= _EXACT

    def _live(
        self, search: Callable[[int], list[tuple[int, float]]], k: int
    ) -> list[tuple[int, float]]:
        """The best `k` live ones of what `search` finds, asked for in growing numbers."""
        wanted = k
        while True:
            found = search(wanted)
            live = self.document_store.live_of([row for row, _ in found])
            hits = [(row, score) for row, score in found if row in live]
            if len(hits) >= k or len(found) < wanted:
                return hits[:k]
            wanted *= 4

    def _search_chroma(
        self,
        vector: NDArray[np.float32],
        k: int,
        wanted: int,
        allowed: Mapping[int, int] | None,
    ) -> list[tuple[int, float]]:
        """Ask for the nearest of all, in growing numbers, until enough are live and allowed."""
        while wanted <= ChromaCollection.MOST:
            found = self.vectors.query(vector, wanted)
            owners = self.document_store.live_of([row for row, _ in found])
            hits = [
                (row, score)
                for row, score in found
                if row in owners and (allowed is None or owners[row] in allowed)
            ]
            if len(hits) >= k or len(found) < wanted:
                return hits[:k]
            wanted *= 4
        if allowed is None:
            return self._compare(vector, list(self.document_store.live_rows()), k)
        return self._compare(vector, self.document_store.rows_of(list(allowed)), k)

    def _compare(
        self, vector: NDArray[np.float32], rows: Sequence[int], k: int
    ) -> list[tuple[int, float]]:
        """Compare with each of `rows`, some at a time."""
        best: list[tuple[int, float]] = []
        for i in range(0, len(rows), _MANY):
            best += self.dense_scores(vector, rows[i : i + _MANY]).items()
            best = sorted(best, key=lambda item: (-item[1], item[0]))[:k]
        return best

    def search_lexical(
        self, query: BM25Query, k: int, where: Where | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` live chunks (row, BM25 score) with words of `query`, best first."""
        allowed = self._matching(where)
        documents = None if allowed is None else list(allowed)
        return self._live(lambda n: self.lexical.search(query, n, documents), k)

    def vectors_of(self, rows: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Vectors ``[n, dimension]`` of those of the chunks that have one, and their rows."""
        if self.uses_exact_search():
            return self._exact.of(rows)
        return self.document_store.vectors(rows, self.fingerprint)

    def vectors_for(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Vectors ``[len(chunks), dimension]``; zeros for what is not in the index as it is."""
        import numpy as np

        rows: list[int | None] = []
        outlines: dict[str, dict[tuple[int, int], int]] = {}
        for chunk in chunks:
            if chunk.uri not in outlines:
                outline = self.document_store.outline(chunk.uri)
                outlines[chunk.uri] = {(s.start, s.end): s.row for s in outline}
            rows.append(outlines[chunk.uri].get((chunk.start, chunk.end)))
        found, matrix = self.vectors_of(sorted({row for row in rows if row is not None}))
        place = {row: i for i, row in enumerate(found)}
        out = np.zeros((len(chunks), self.embedder.dimension), dtype=np.float32)
        for i, row in enumerate(rows):
            if row in place:
                out[i] = matrix[place[row]]
        return out

    def dense_scores(self, vector: NDArray[np.float32], rows: Sequence[int]) -> dict[int, float]:
        """Cosine of `vector` with each of these chunks."""
        found, matrix = self.vectors_of(rows)
        if not found:
            return {}
        return dict(zip(found, cosines(matrix, vector).tolist(), strict=True))

    def lexical_scores(self, query: BM25Query, rows: Sequence[int]) -> dict[int, float]:
        """BM25 of `query` for each of these chunks that has a word of it."""
        return self.lexical.scores(query, rows)

    def chunks(self, rows: Sequence[int]) -> dict[int, Chunk]:
        """Those of the chunks that are live, by row."""
        return self.document_store.chunks(rows)

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, adopting: bool = False) -> Iterator[Writer]:
        """Hold the writer's lock; raises `IndexLocked` at once where another process does.

        What an interrupted run left behind is put right first. With `adopting` the index may be
        of another embedder: the writer is then to call `Writer.adopt_embedder` before others.
        """
        with self._gate.read(), write_lock(self.path):
            self._check_there()
            state = self.document_store.state
            if not state.embedder:
                self.document_store.set_meta("embedder", self.embedder_note())
            elif not adopting:
                self._check_embedder(state)
            self._open_for_writing(state)
            self._writing = True  # our own stores show what we write by themselves
            writer = Writer(self)
            try:
                writer.heal()
                yield writer
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise RagIndexError.full(self.path) from error
                said = error.strerror or error
                raise RagIndexError(f"cannot write the index at {self.path}: {said}") from error
            finally:
                writer.close()
                self._seen = self.document_store.state
                self._writing = False

    def _open_for_writing(self, state: IndexState) -> None:
        """Have the stores of `state` open as they are now; what is damaged is opened anew."""
        with self._opening:
            try:
                if state.derived == self._derived.number and self._derived.is_there():
                    self._derived.refresh(state.generation)
                    return
            except IndexDamaged:
                pass
            self.use_stores(self.open_store_set(state.derived))

    def embedder_note(self) -> str:
        """What the index remembers of its embedder."""
        return json.dumps(
            {
                "fingerprint": self.fingerprint,
                "name": describe(self.embedder),
                "config": self.embedder.config(),
            }
        )

    def check_derived(self) -> None:
        """Raise `IndexDamaged` where a store that searches need has less than the library."""
        live = self.document_store.chunk_count()
        counts = {"tantivy": self.lexical.count()} if live else {}
        if not self.uses_exact_search():
            counts["Chroma"] = self.vectors.count()
        for name, count in counts.items():
            if count < live:
                raise IndexDamaged(
                    f"the {name} store of {self.path} has {count:,} of {live:,} chunks: "
                    f"{IndexDamaged.REBUILD}"
                )


def open_library(path: Path, namespace: str = "") -> SqliteDocumentStore:
    """Open the library of the index in `path` by itself, for reading: no embedder, no Chroma.

    Raises `IndexNotFound` or `IndexDamaged`.
    """
    return SqliteDocumentStore(require_library(path, namespace), read_only=True)
