"""The index: library, vectors and lexical index, kept in agreement.

A batch is written in this order, and a crash at any point leaves an index that searches answer
from as before, and that the next writer puts right:

1. documents, chunks and new embeddings into the library, as *pending*, in one transaction;
2. vectors into Chroma, words into tantivy;
3. the new documents *live* and the ones they replace *doomed*, in one transaction;
4. chunks of doomed documents out of Chroma and tantivy, then out of the library.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from connectors.files import INDEX_MARK
from rag.embedding.base import Embedder
from rag.errors import (
    EmbedderMismatch,
    IndexDamaged,
    IndexNotFound,
    RagIndexError,
)
from rag.index.exact import ExactVectors
from rag.index.gate import Gate
from rag.index.lexical import LexicalStore
from rag.index.library import Library
from rag.index.lock import write_lock
from rag.index.vectors import ChromaVectors
from rag.index.writer import Writer, describe
from rag.types import Chunk, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")

_EXACT = 64 * 2**20  # bytes of vectors up to which each is compared: 65,000 chunks of 256 values
_MANY = 5_000  # chunks compared at a time
_LIBRARY, _CHROMA, _TANTIVY = "library.sqlite", "chroma", "tantivy"
_OWN_FILES = {INDEX_MARK, ".gitignore", _LIBRARY, _CHROMA, _TANTIVY, "write.lock", "writer.json"}
_OWN_FILES |= {f"{_LIBRARY}-{part}" for part in ("wal", "shm", "journal")}


class Index:
    """An index in the folder `path`, searched and written with one embedder.

    May be shared by threads. Opening raises `IndexNotFound` where there is none and `create` is
    not set, `EmbedderMismatch` where it was built with another embedder, `IndexDamaged` where a
    store cannot be read. ``store_text`` also writes each chunk's text and metadata into Chroma,
    for people who read the collection with other tools.
    """

    def __init__(
        self, path: Path, embedder: Embedder, *, create: bool = False, store_text: bool = False
    ) -> None:
        if create:
            _make_folder(path)
        elif not os.path.isfile(path / _LIBRARY):  # noqa: PTH113 (False for impossible names)
            raise IndexNotFound.at(path)
        self.path = path.absolute()  # whatever becomes of the working directory
        self.embedder = embedder
        self.store_text = store_text
        self._fingerprint = embedder.fingerprint
        self.library = Library(self.path / _LIBRARY, create=create)
        self._check_embedder()
        self._vectors: ChromaVectors | None = None
        self._lexical: LexicalStore | None = None
        self._gate, self._opening = Gate(), threading.RLock()
        self._exact = ExactVectors(self.library, self._fingerprint)
        self._seen_generation = self.library.generation
        self._writing = False
        self._counted = (-1, 0)
        self._closed = False

    def close(self) -> None:
        """Let go of every file, when the searches and the ingest in it are done."""
        with self._gate.alone():
            self._closed = True
            if self._lexical is not None:
                self._lexical.close()
            if self._vectors is not None:
                self._vectors.close()
            self._vectors, self._lexical = None, None
            self.library.close()

    def _check_embedder(self) -> None:
        built = self.library.meta("embedder")
        if built is not None and json.loads(built)["fingerprint"] != self._fingerprint:
            raise EmbedderMismatch.of(self.path, json.loads(built)["name"], describe(self.embedder))

    @property
    def vectors(self) -> ChromaVectors:
        """The vector store, opened when first used."""
        with self._opening:
            self._require_open()
            if self._vectors is None:
                self._vectors = ChromaVectors(self.path / _CHROMA, f"chunks-{self._fingerprint}")
            return self._vectors

    @property
    def lexical(self) -> LexicalStore:
        """The lexical index, opened when first used."""
        with self._opening:
            self._require_open()
            if self._lexical is None:
                self._lexical = LexicalStore(self.path / _TANTIVY)
            return self._lexical

    def _require_open(self) -> None:
        if self._closed:
            raise RagIndexError(f"the index at {self.path} was closed while in use")

    # -- searching -------------------------------------------------------------------------

    def consistently(self, search: Callable[[], _T]) -> _T:
        """Run `search` so that all of its reads are of one state of the index.

        Another process may make documents live between two reads: then what was found of the
        old version is gone and the new one was not looked for. So it is run again.
        """
        for _ in range(5):
            generation = self.library.generation
            self._see(generation)
            with self._gate.shared():
                found = search()
            if self.library.generation == generation:
                break
        return found

    def _see(self, generation: int) -> None:
        """Let the derived stores show what another process has written up to `generation`."""
        if generation == self._seen_generation or self._writing:
            return
        with self._opening:
            if self._lexical is not None:
                self._lexical.reload()
            if self._vectors is not None:
                self._vectors.see(generation)
            self._seen_generation = generation

    def search_dense(
        self, vector: NDArray[np.float32], k: int, where: Where | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` live chunks (row, cosine) nearest to `vector`, best first.

        Up to 64 MiB of vectors, each is compared: Chroma's graph misses some of the nearest. With
        more, Chroma is asked, and with a filter that leaves few enough, each of these is compared.
        """
        allowed = self.library.rows_of(self.library.matching(where)) if where else None
        if self._compares_each():
            return self._exact.search(vector, k, allowed)
        if allowed is not None and len(allowed) * vector.nbytes <= _EXACT:
            return self._compare(vector, allowed, k)
        return self._search_chroma(vector, k, None if allowed is None else set(allowed))

    def _compares_each(self) -> bool:
        generation = self.library.generation
        if self._counted[0] != generation:
            self._counted = (generation, self.library.chunk_count())
        return self._counted[1] * self.embedder.dimension * 4 <= _EXACT

    def _search_chroma(
        self, vector: NDArray[np.float32], k: int, allowed: set[int] | None
    ) -> list[tuple[int, float]]:
        """Ask for the nearest of all, in growing numbers, until enough are live and allowed."""
        wanted = k if allowed is None else k * 4
        while wanted <= ChromaVectors.MOST:
            found = self.vectors.query(vector, wanted)
            live = self.library.live_rows([name for name, _ in found])
            hits = [
                (live[name], score)
                for name, score in found
                if name in live and (allowed is None or live[name] in allowed)
            ]
            if len(hits) >= k or len(found) < wanted:
                return hits[:k]
            wanted *= 4
        rows = self.library.all_live_rows() if allowed is None else sorted(allowed)
        return self._compare(vector, rows, k)

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
        self, query: str, k: int, where: Where | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` live chunks (row, BM25 score) with words of `query`, best first."""
        documents = self.library.matching(where) if where else None
        wanted = k
        while True:
            found = self.lexical.search(query, wanted, documents)
            live = self.library.live_of([row for row, _ in found])
            hits = [(row, score) for row, score in found if row in live]
            if len(hits) >= k or len(found) < wanted:
                return hits[:k]
            wanted *= 4

    def dense_scores(self, vector: NDArray[np.float32], rows: Sequence[int]) -> dict[int, float]:
        """Cosine of `vector` with each of these chunks."""
        found, matrix = self.library.vectors(rows, self._fingerprint)
        if not found:
            return {}
        return dict(zip(found, (matrix @ vector).tolist(), strict=True))

    def lexical_scores(self, query: str, rows: Sequence[int]) -> dict[int, float]:
        """BM25 of `query` for each of these chunks that has a word of it."""
        return self.lexical.scores(query, rows)

    def chunks(self, rows: Sequence[int]) -> dict[int, Chunk]:
        """Those of the chunks that are live, by row."""
        return self.library.chunks(rows)

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Hold the writer's lock; raises `IndexLocked` at once where another process does.

        What an interrupted run left behind is put right first.
        """
        with self._gate.shared(), write_lock(self.path):
            if self.library.meta("embedder") is None:
                self.library.set_meta("embedder", self._embedder_note())
            self._check_embedder()
            self._see(self.library.generation)
            self.reset_damaged()
            with self.vectors.writing():
                self._writing = True  # our own stores show what we write by themselves
                writer = Writer(self)
                try:
                    writer.heal()
                    yield writer
                finally:
                    writer.close()
                    self._seen_generation = self.library.generation
                    self._writing = False

    def _embedder_note(self) -> str:
        return json.dumps(
            {
                "fingerprint": self._fingerprint,
                "name": describe(self.embedder),
                "config": self.embedder.config(),
            }
        )

    def reset_damaged(self) -> None:
        """Throw away a derived store that cannot be opened, so that it can be filled again."""
        try:
            self.vectors.count()
        except IndexDamaged:
            self.vectors.close()
            self._vectors = None
            shutil.rmtree(self.path / _CHROMA, ignore_errors=True)
        try:
            self.lexical.count()
        except IndexDamaged:
            self._lexical = None
            shutil.rmtree(self.path / _TANTIVY, ignore_errors=True)

    def check_derived(self) -> None:
        """Raise `IndexDamaged` where a store that searches need has less than the library."""
        live = self.library.live_chunk_count()
        counts = {"tantivy": self.lexical.count()}
        if not self._compares_each():
            counts["Chroma"] = self.vectors.count()
        for name, count in counts.items():
            if count < live:
                raise IndexDamaged(
                    f"the {name} folder of {self.path} has {count:,} of {live:,} chunks: "
                    f"{IndexDamaged.REBUILD}"
                )


def open_library(path: Path) -> Library:
    """Open the library of the index in `path` by itself: no embedder, no Chroma.

    Raises `IndexNotFound` or `IndexDamaged`.
    """
    return Library(path / _LIBRARY)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not (path / _LIBRARY).exists():
            if strangers := {entry.name for entry in path.iterdir()} - _OWN_FILES:
                raise RagIndexError(
                    f"{path} holds no index but other things ({min(strangers)} ...): name a new "
                    "folder for the index"
                )
            (path / INDEX_MARK).touch()
            (path / ".gitignore").write_text("*\n", encoding="utf-8")
    except FileExistsError:
        raise RagIndexError(f"{path} is a file: name a folder for the index") from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise RagIndexError(f"cannot make the index in {str(path)[:200]!r}: {said}") from None
