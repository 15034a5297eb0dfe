"""The index: library, vectors and lexical index, kept in agreement.

A batch is written in this order, and a crash at any point leaves an index that searches answer
from as before, and that the next writer puts right:

1. documents, chunks and new embeddings into the library, as *pending*, in one transaction;
2. vectors into Chroma, words into tantivy;
3. the new documents *live* and the ones they replace *doomed*, in one transaction;
4. chunks of doomed documents out of Chroma and tantivy, then out of the library.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from connectors.files import INDEX_MARK
from rag.embedding.base import Embedder
from rag.errors import (
    EmbedderMismatch,
    EmbeddingError,
    IndexDamaged,
    IndexNotFound,
    RagIndexError,
)
from rag.index.gate import Gate
from rag.index.lexical import LexicalStore
from rag.index.library import LedgerEntry, Library
from rag.index.lock import write_lock
from rag.index.vectors import ChromaVectors
from rag.types import Chunk, Document, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")

_EXACT = 64 * 2**20  # bytes of vectors up to which each is compared: 65,000 chunks of 256 values
_PURGE = 5_000  # chunks removed at a time
_LIBRARY, _CHROMA, _TANTIVY = "library.sqlite", "chroma", "tantivy"
_OWN_FILES = {INDEX_MARK, ".gitignore", _LIBRARY, _CHROMA, _TANTIVY, "write.lock", "writer.json"}
_OWN_FILES |= {f"{_LIBRARY}-{part}" for part in ("wal", "shm", "journal")}


class Embedded(NamedTuple):
    """Embeddings of some chunks, in their order: text hashes, and float32 ``[n, dimension]``.

    ``new`` are the hashes of texts that were not in the cache and had to be embedded.
    """

    hashes: Sequence[bytes]
    vectors: NDArray[np.float32]
    new: frozenset[bytes]


class Prepared(NamedTuple):
    """A document ready to be written, with the ledger entry it gets."""

    document: Document
    entry: LedgerEntry
    chunks: Sequence[Chunk]
    embedded: Embedded


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
        elif not (path / _LIBRARY).is_file():
            raise IndexNotFound.at(path)
        self.path = path.absolute()  # whatever becomes of the working directory
        self.embedder = embedder
        self._store_text = store_text
        self._fingerprint = embedder.fingerprint
        self.library = Library(self.path / _LIBRARY, create=create)
        self._check_embedder()
        self._vectors: ChromaVectors | None = None
        self._lexical: LexicalStore | None = None
        self._gate, self._opening = Gate(), threading.RLock()
        self._exact = _ExactVectors(self.library, self._fingerprint)
        self._seen_generation = self.library.generation
        self._writing = False
        self._counted = (-1, 0)

    def close(self) -> None:
        """Let go of every file, when the searches in it are done."""
        with self._gate.alone():
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
            if self._vectors is None:
                self._vectors = ChromaVectors(self.path / _CHROMA, f"chunks-{self._fingerprint}")
            return self._vectors

    @property
    def lexical(self) -> LexicalStore:
        """The lexical index, opened when first used."""
        with self._opening:
            if self._lexical is None:
                self._lexical = LexicalStore(self.path / _TANTIVY)
            return self._lexical

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
        for i in range(0, len(rows), _PURGE):
            best += self.dense_scores(vector, rows[i : i + _PURGE]).items()
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
        with write_lock(self.path):
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


class _ExactVectors:
    """All live vectors in memory, brought up to date when the library has changed."""

    def __init__(self, library: Library, fingerprint: str) -> None:
        self._library = library
        self._fingerprint = fingerprint
        self._guard = threading.Lock()
        self._generation = -1
        self._held: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    def search(
        self, vector: NDArray[np.float32], k: int, allowed: Sequence[int] | None
    ) -> list[tuple[int, float]]:
        """Up to `k` chunks (row, cosine), best first, ties by row; among `allowed` where given."""
        import numpy as np

        rows, matrix = self._current()
        if allowed is not None:
            among = np.isin(rows, np.asarray(allowed, dtype=np.int64))
            rows, matrix = rows[among], matrix[among]
        if not len(rows) or k < 1:
            return []
        scores = matrix @ vector
        best = np.argpartition(-scores, k)[: k + 1] if k + 1 < len(rows) else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))][:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def _current(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        import numpy as np

        with self._guard:
            generation = self._library.generation
            if self._held is not None and generation == self._generation:
                return self._held
            live = np.array(self._library.all_live_rows(), dtype=np.int64)
            if self._held is None:
                kept_rows, kept = np.zeros(0, dtype=np.int64), None
            else:
                stay = np.isin(self._held[0], live)
                kept_rows, kept = self._held[0][stay], self._held[1][stay]
            missing = np.setdiff1d(live, kept_rows, assume_unique=True).tolist()
            found, fresh = self._library.vectors(missing, self._fingerprint)
            rows = np.concatenate((kept_rows, np.array(found, dtype=np.int64)))
            parts = [part for part in (kept, fresh) if part is not None and len(part)]
            matrix = np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)
            self._held, self._generation = (rows, matrix), generation
            return self._held


class Writer:
    """The one who may write to an index; made by `Index.writing`."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._library = index.library
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="citewell-vectors")

    def close(self) -> None:
        """Let go of the threads and of tantivy's own lock."""
        self._pool.shutdown()
        self._index.lexical.close()

    def heal(self) -> None:
        """Put right what a crash, a deleted folder or a damaged one left behind; embeds nothing."""
        self._library.doom_pending()
        self._purge()
        live = self._library.live_chunk_count()
        if self._index.vectors.count() < live or self._index.lexical.count() < live:
            self._rebuild()

    def embed(self, chunks: Sequence[Chunk]) -> Embedded:
        """Embed chunks; those texts only that the cache does not have. Raises `EmbeddingError`."""
        import numpy as np

        embedder = self._index.embedder
        hashes = [_hash(chunk.embedded_text) for chunk in chunks]
        vectors = self._library.cached_embeddings(embedder.fingerprint, list(dict.fromkeys(hashes)))
        missing = {
            text_hash: chunk.embedded_text
            for text_hash, chunk in zip(hashes, chunks, strict=True)
            if text_hash not in vectors
        }
        if missing:
            fresh = embedder.embed_documents(list(missing.values()))
            _check_vectors(fresh, len(missing), embedder)
            vectors.update(zip(missing, (vector.tobytes() for vector in fresh), strict=True))
        matrix = np.frombuffer(b"".join(vectors[h] for h in hashes), dtype=np.float32)
        return Embedded(hashes, matrix.reshape(len(chunks), embedder.dimension), frozenset(missing))

    def write(self, batch: Sequence[Prepared]) -> None:
        """Write documents in place of their older versions; all of them, or none is seen."""
        import numpy as np

        numbers, rows = self._library.add_pending(
            [(p.document, p.entry, p.chunks, p.embedded.hashes) for p in batch],
            self._index.embedder.fingerprint,
            (
                (text_hash, vector.tobytes())
                for p in batch
                for text_hash, vector in zip(p.embedded.hashes, p.embedded.vectors, strict=True)
                if text_hash in p.embedded.new
            ),
        )
        chunks = [chunk for p in batch for chunk in p.chunks]
        if chunks:
            vectors = np.concatenate([p.embedded.vectors for p in batch])
            stored = self._pool.submit(self._store_vectors, chunks, vectors)
            try:
                owners = (n for n, p in zip(numbers, batch, strict=True) for _ in p.chunks)
                self._index.lexical.add(
                    (row, owner, chunk.embedded_text)
                    for row, owner, chunk in zip(rows, owners, chunks, strict=True)
                )
                self._index.lexical.commit()
            finally:
                stored.result()
        self._library.make_live(numbers)
        self._purge()

    def delete(self, uris: Sequence[str]) -> int:
        """Delete documents; returns how many there were."""
        doomed = self._library.doom(uris)
        self._purge()
        return doomed

    def _store_vectors(self, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> None:
        if not self._index._store_text:
            self._index.vectors.upsert([chunk.id for chunk in chunks], vectors)
            return
        self._index.vectors.upsert(
            [chunk.id for chunk in chunks],
            vectors,
            texts=[chunk.text for chunk in chunks],
            metadata=[_chroma_metadata(chunk) for chunk in chunks],
        )

    def _purge(self) -> None:
        while doomed := self._library.doomed(_PURGE):
            rows = [row for row, _, _ in doomed]
            self._index.vectors.delete([name for _, name, _ in doomed])
            self._index.lexical.delete(rows)
            self._index.lexical.commit()
            self._library.remove_chunks(rows)
        self._library.remove_doomed()

    def _rebuild(self) -> None:
        """Fill the derived stores from the library."""
        after = 0
        fingerprint = self._index.embedder.fingerprint
        while batch := self._library.live_chunks(after, _PURGE):
            after = batch[-1][0]
            rows = [row for row, _ in batch]
            chunks = self._library.chunks(rows)
            found, matrix = self._library.vectors(rows, fingerprint)
            self._store_vectors([chunks[row] for row in found], matrix)
            self._index.lexical.delete(rows)
            self._index.lexical.add(
                (row, document, chunks[row].embedded_text) for row, document in batch
            )
            self._index.lexical.commit()


def open_library(path: Path) -> Library:
    """Open the library of the index in `path` by itself: no embedder, no Chroma.

    Raises `IndexNotFound` or `IndexDamaged`.
    """
    return Library(path / _LIBRARY)


def describe(embedder: Embedder) -> str:
    """Name an embedder for people: its registered name, and its model where it has one."""
    model = embedder.config().get("model")
    return f"{embedder.name} ({model})" if model else embedder.name


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
    except OSError as error:
        raise RagIndexError(f"cannot make the index in {path}: {error.strerror}") from None


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _check_vectors(vectors: NDArray[np.float32], count: int, embedder: Embedder) -> None:
    import numpy as np

    if vectors.shape != (count, embedder.dimension):
        raise EmbeddingError(
            f"{describe(embedder)} gave vectors of shape {vectors.shape}, "
            f"not ({count}, {embedder.dimension})"
        )
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{describe(embedder)} gave a vector with NaN or infinity in it")


def _chroma_metadata(chunk: Chunk) -> dict[str, object]:
    fields = {f"meta.{key}": value for key, value in chunk.metadata.items() if value != ()}
    fields |= {"uri": chunk.uri, "title": chunk.title, "start": chunk.start, "end": chunk.end}
    return {key: _chroma_value(value) for key, value in fields.items()}


def _chroma_value(value: object) -> object:
    """Lists must be of one type for Chroma, and not be empty."""
    if not isinstance(value, tuple):
        return value
    return list(value) if len({type(item) for item in value}) == 1 else [str(v) for v in value]
