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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rag.embedding.base import Embedder
from rag.errors import EmbedderMismatch, EmbeddingError, IndexDamaged, RagIndexError
from rag.index.lexical import LexicalStore
from rag.index.library import LedgerEntry, Library
from rag.index.lock import write_lock
from rag.types import Chunk, Document, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index.vectors import ChromaVectors

_T = TypeVar("_T")

_EXACT = 20_000  # vectors of a filtered search up to which comparing with each is fastest
_PURGE = 5_000  # chunks removed at a time
_LIBRARY, _CHROMA, _TANTIVY = "library.sqlite", "chroma", "tantivy"


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
        self.path = path
        self.embedder = embedder
        self._store_text = store_text
        self._fingerprint = embedder.fingerprint
        if create:
            _make_folder(path)
        self.library = Library(path / _LIBRARY, create=create)
        self._check_embedder()
        self._vectors: ChromaVectors | None = None
        self._lexical: LexicalStore | None = None
        self._seen_generation = self.library.generation
        self._own_generation = -1

    def close(self) -> None:
        """Let go of every file."""
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
        if self._vectors is None:
            from rag.index.vectors import ChromaVectors

            self._vectors = ChromaVectors(self.path / _CHROMA, f"chunks-{self._fingerprint}")
        return self._vectors

    @property
    def lexical(self) -> LexicalStore:
        """The lexical index, opened when first used."""
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
            found = search()
            if self.library.generation == generation:
                break
        return found

    def _see(self, generation: int) -> None:
        """Let the derived stores show what another process has written up to `generation`."""
        if generation in (self._seen_generation, self._own_generation):
            return
        if self._lexical is not None:
            self._lexical.reload()
        if self._vectors is not None:
            self._vectors.reopen()
        self._seen_generation = generation

    def search_dense(
        self, vector: NDArray[np.float32], k: int, where: Where | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` live chunks (row, cosine) nearest to `vector`, best first.

        With a filter that leaves up to 20,000 chunks, each of these is compared; with a wider
        one, the nearest of all are, in growing numbers, until enough of them pass.
        """
        allowed: set[int] | None = None
        if where:
            documents = self.library.matching(where)
            count = self.library.live_chunk_count(documents)
            rows = self.library.rows_of(documents) if count else []
            if count <= _EXACT:
                scores = self.dense_scores(vector, rows)
                return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
            allowed = set(rows)
        wanted = k if allowed is None else k * 4
        while True:
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
            writer = Writer(self)
            try:
                writer.heal()
                yield writer
            finally:
                self._own_generation = self.library.generation
                writer.close()

    def _embedder_note(self) -> str:
        return json.dumps(
            {
                "fingerprint": self._fingerprint,
                "name": describe(self.embedder),
                "config": self.embedder.config(),
            }
        )

    def check_derived(self) -> None:
        """Raise `IndexDamaged` where a derived store is empty and the library is not."""
        if not self.library.live_chunks(0, 1):
            return
        for name, count in (("Chroma", self.vectors.count()), ("tantivy", self.lexical.count())):
            if count == 0:
                raise IndexDamaged(
                    f"the {name} folder of {self.path} is empty: run `rag ingest` on any source "
                    "to fill it from the library (nothing is embedded again)"
                )


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
        """Put right what a crash or a deleted folder left behind; embeds nothing."""
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
        ignore = path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
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
    fields = {f"meta.{key}": value for key, value in chunk.metadata.items()}
    fields |= {"uri": chunk.uri, "title": chunk.title, "start": chunk.start, "end": chunk.end}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
