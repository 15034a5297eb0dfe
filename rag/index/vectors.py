"""The vectors: one Chroma collection of ids and vectors, derived from the library."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rag.errors import IndexDamaged
from rag.index.gate import Gate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MANY = 5_000  # rows a call; Chroma refuses more than 5,461
# With Chroma's own `ef_search` a fifth of the ten nearest are missed where a few documents lie
# beside many of another kind (docs/decisions.md). `sync_threshold`: rows between writes to disk.
_GRAPH = {"space": "ip", "ef_search": 1_000, "sync_threshold": 10_000}


class _Database:
    """The one Chroma client that this process has of a folder.

    Chroma keeps one engine a folder and process, whoever opens it, and that engine does not see
    what another process writes. So its users share it, and it is replaced for all of them.
    """

    _known: ClassVar[dict[str, _Database]] = {}
    _guard = threading.Lock()

    def __init__(self, path: str) -> None:
        self.path = path
        self.gate, self._opening = Gate(), threading.Lock()
        self.writers = 0
        self._users = 0
        self._generation = -1
        self._client: Any = None
        self._collections: dict[str, Any] = {}

    @classmethod
    def acquire(cls, path: Path) -> _Database:
        with cls._guard:
            name = os.path.realpath(path)
            database = cls._known.setdefault(name, cls(name))
            database._users += 1
            return database

    def release(self) -> None:
        with self._guard, self.gate.alone():
            self._users -= 1
            if not self._users:
                self._drop()
                del self._known[self.path]

    def renew(self, generation: int) -> None:
        """Open anew, unless that was done for this `generation`, or this process is writing."""
        with self.gate.alone():
            if self._generation < generation and not self.writers:
                self._drop()
                self._generation = generation

    def collection(self, name: str) -> Any:
        """The collection, opened or made. Only inside the gate."""
        with self._opening:
            if name not in self._collections:
                import chromadb
                from chromadb.config import Settings

                logging.getLogger("chromadb.telemetry").setLevel(logging.CRITICAL)
                if self._client is None:
                    try:
                        self._client = chromadb.PersistentClient(
                            path=self.path, settings=Settings(anonymized_telemetry=False)
                        )
                    except BaseException:
                        _forget_engine(self.path)
                        raise
                self._collections[name] = self._client.get_or_create_collection(
                    name, configuration={"hnsw": _GRAPH}, embedding_function=None
                )
            return self._collections[name]

    def _drop(self) -> None:
        self._collections.clear()
        if self._client is not None:
            self._client.close()
            self._client = None


def _forget_engine(path: str) -> None:
    """Chroma keeps an engine that failed to start, and gives it to whoever opens it next."""
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient._identifier_to_system.pop(path, None)


class ChromaVectors:
    """Vectors by chunk id, in a Chroma database in the folder `path`; opened when first used.

    Similarity is the inner product, which for normalised vectors is the cosine. Only ids and
    vectors are kept: text and metadata are the library's, which also decides filters
    (``docs/decisions.md`` has the measurements). May be shared by threads.
    """

    MOST = _MANY
    """Rows a query can return."""

    def __init__(self, path: Path, collection: str) -> None:
        self._path = path
        self._name = collection
        self._database = _Database.acquire(path)

    def see(self, generation: int) -> None:
        """Let searches find what another process has written up to `generation`."""
        self._database.renew(generation)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the database open as it is: this process writes to it, and sees what it writes."""
        with self._database.gate.alone():
            self._database.writers += 1
        try:
            yield
        finally:
            with self._database.gate.alone():
                self._database.writers -= 1

    def close(self) -> None:
        """Let go of the files, if nobody else in this process uses them."""
        self._database.release()

    def upsert(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        texts: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Write vectors ``[len(ids), dimension]``; an id that is there is overwritten."""
        for i in range(0, len(ids), _MANY):
            part = slice(i, i + _MANY)
            arguments: dict[str, Any] = {"ids": list(ids[part]), "embeddings": vectors[part]}
            if texts is not None:
                arguments["documents"] = list(texts[part])
            if metadata is not None:
                arguments["metadatas"] = [dict(fields) or None for fields in metadata[part]]
            self._call("upsert", **arguments)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove vectors; ids that are not there are no error."""
        for i in range(0, len(ids), _MANY):
            self._call("delete", ids=list(ids[i : i + _MANY]))

    def count(self) -> int:
        """Number of vectors."""
        return int(self._call("count"))

    def query(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """Up to `k` nearest (id, cosine), best first; by HNSW, which misses some."""
        if k < 1:
            return []
        found = self._call(
            "query",
            query_embeddings=[vector],
            n_results=min(k, self.MOST),
            include=["distances"],
        )
        return [
            (name, 1.0 - distance)
            for name, distance in zip(found["ids"][0], found["distances"][0], strict=True)
        ]

    def _call(self, method: str, **arguments: Any) -> Any:
        from chromadb.errors import ChromaError

        try:
            with self._database.gate.shared():
                return getattr(self._database.collection(self._name), method)(**arguments)
        except (ChromaError, ValueError, RuntimeError, OSError, AttributeError) as error:
            raise self._damaged(error) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what Rust raises, past `Exception`
                raise
            raise self._damaged(error) from None

    def _damaged(self, error: BaseException) -> IndexDamaged:
        said = " ".join(str(error).split())
        return IndexDamaged(f"Chroma failed on {self._path} ({said}): {IndexDamaged.REBUILD}")
