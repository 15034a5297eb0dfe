"""The vectors: one Chroma collection of ids and vectors, derived from the library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag.errors import IndexDamaged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")

_MANY = 5_000  # rows a call; Chroma refuses more than 5,461
# With Chroma's own settings a fifth of the ten nearest are missed where a few documents lie beside
# many of another kind (docs/decisions.md). `sync_threshold`: rows between writes to disk.
_GRAPH = {
    "space": "ip",
    "max_neighbors": 32,
    "ef_construction": 200,
    "ef_search": 1_000,
    "sync_threshold": 10_000,
}


class ChromaVectors:
    """Vectors by chunk id, in a Chroma database in the folder `path`.

    Similarity is the inner product, which for normalised vectors is the cosine. Only ids and
    vectors are kept: text and metadata are the library's, which also decides filters
    (``docs/decisions.md`` has the measurements).
    """

    def __init__(self, path: Path, collection: str) -> None:
        self._path = path
        self._name = collection
        self._client: Any = None
        self._collection: Any = None
        self.open()

    def open(self) -> None:
        """Open the collection, or make it."""
        import chromadb
        from chromadb.config import Settings

        logging.getLogger("chromadb.telemetry").setLevel(logging.CRITICAL)

        def opened() -> Any:
            self._client = chromadb.PersistentClient(
                path=str(self._path), settings=Settings(anonymized_telemetry=False)
            )
            return self._client.get_or_create_collection(
                self._name,
                configuration={"hnsw": _GRAPH},
                embedding_function=None,
            )

        self._collection = self._told(opened)

    def reopen(self) -> None:
        """Open anew, to see what another process has written since."""
        self.close()
        self.open()

    def close(self) -> None:
        """Let go of the files."""
        if self._client is not None:
            self._client.close()
            self._client = None

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
            self._told(self._collection.upsert, **arguments)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove vectors; ids that are not there are no error."""
        for i in range(0, len(ids), _MANY):
            self._told(self._collection.delete, ids=list(ids[i : i + _MANY]))

    def count(self) -> int:
        """Number of vectors."""
        return int(self._told(self._collection.count))

    def query(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """Up to `k` nearest (id, cosine), best first; by HNSW, which misses some."""
        if k < 1:
            return []
        found = self._told(
            self._collection.query,
            query_embeddings=[vector],
            n_results=min(k, _MANY),
            include=["distances"],
        )
        return [
            (name, 1.0 - distance)
            for name, distance in zip(found["ids"][0], found["distances"][0], strict=True)
        ]

    def _told(self, call: Callable[..., _T], **arguments: Any) -> _T:
        from chromadb.errors import ChromaError

        try:
            return call(**arguments)
        except (ChromaError, ValueError, RuntimeError, OSError) as error:
            raise self._damaged(error) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what Rust raises, past `Exception`
                raise
            raise self._damaged(error) from None

    def _damaged(self, error: BaseException) -> IndexDamaged:
        said = " ".join(str(error).split())
        return IndexDamaged(f"Chroma failed on {self._path} ({said}): {IndexDamaged.REBUILD}")
