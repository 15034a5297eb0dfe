"""The vector store in Chroma: collections of vectors by chunk row, built from the document store.

`Chroma` is the configuration, `ChromaCollection` one collection. Chroma runs embedded in this
process on a folder of the index, or as a server (see `rag.stores.chroma_database`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from rag.component import Component, NotFingerprinted
from rag.errors import IndexDamaged
from rag.stores.chroma_database import EmbeddedDatabase, ServerDatabase

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ROWS_PER_CALL = 5_000  # Chroma's own limit is 5,461


class VectorStore(Component):
    """Configuration of the vector store. `Chroma` is the only implementation."""

    kind: ClassVar[str] = "vector_store"


class Chroma(VectorStore):
    """Store vectors in Chroma: embedded in this process (the default), a server, or Chroma Cloud.

    Without ``url``, Chroma runs embedded, and the vectors are in the folder of the index. The url
    of a server is ``http://host:port`` or ``https://host:port``. Its certificate is checked
    against the authorities of the system, or those in the file ``certificate``. ``api_key``
    (default: ``CHROMA_API_KEY``) is sent as a bearer token and in the header
    ``X-Chroma-Token``. For Chroma Cloud, set ``url="https://api.trychroma.com"``, your tenant and
    database, and ``batch=300``.

    A call to a server that fails for a connection error, a server error or a rate limit, or takes
    longer than ``timeout`` seconds, is retried: up to ``attempts`` attempts in all, with a backoff
    of ``wait`` seconds that doubles each time (up to 10 seconds).
    ``batch`` is the number of rows per call.
    ``store_text`` also writes the text and metadata of each chunk, for other tools that read the
    collection; this makes writes slower.

    Source: https://docs.trychroma.com
    """

    name: ClassVar[str] = "chroma"

    url: str = ""
    tenant: str = "default_tenant"
    database: str = "default_database"
    api_key: SecretStr | None = None
    certificate: Path | None = None
    timeout: Annotated[float, NotFingerprinted] = Field(60, gt=0)
    attempts: Annotated[int, NotFingerprinted] = Field(6, ge=1, le=20)
    wait: Annotated[float, NotFingerprinted] = Field(0.25, ge=0, le=60)
    batch: Annotated[int, NotFingerprinted] = Field(MAX_ROWS_PER_CALL, ge=1, le=MAX_ROWS_PER_CALL)
    store_text: bool = False

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url and (
            urlsplit(url).scheme not in ("http", "https")
            or not urlsplit(url).hostname
            or urlsplit(url).path.strip("/")
        ):
            raise ValueError("the url of a Chroma server is http(s)://host:port, without a path")
        return url.rstrip("/")


class ChromaCollection:
    """Vectors by chunk row in one collection, opened at first use.

    `path` is the folder of an embedded Chroma; a server does not use it. Similarity is the inner
    product, which for normalised vectors is the cosine. Only rows and vectors are stored: text and
    metadata are in the document store, which also evaluates filters (measurements in
    ``docs/decisions.md``). Threads may share it.
    """

    MAX_QUERY_RESULTS = MAX_ROWS_PER_CALL
    """Most rows that a query can return."""

    def __init__(self, config: Chroma, path: Path, collection: str) -> None:
        self._config = config
        self._name = collection
        self._database = ServerDatabase(config) if config.url else EmbeddedDatabase.acquire(path)
        self._closed = False

    @property
    def location(self) -> str:
        """Folder, or url of the server."""
        return self._database.location

    def refresh(self, generation: int) -> None:
        """Make searches see what other processes wrote up to `generation`."""
        self._database.refresh(generation)

    def keep_client(self) -> AbstractContextManager[None]:
        """Keep the current client while this process writes: a client sees its own writes."""
        return self._database.keep_client()

    def note_written(self, generation: int) -> None:
        """Record that this process made all writes up to `generation`, so none need a refresh."""
        self._database.note_written(generation)

    def close(self) -> None:
        """Release the client; it is closed when no other collection of this process uses it."""
        if not self._closed:
            self._closed = True
            self._database.release()

    def drop(self) -> None:
        """Delete the collection from a server. An embedded one is deleted with its folder."""
        self._database.drop(self._name)

    def upsert(
        self,
        rows: Sequence[int],
        vectors: NDArray[np.float32],
        *,
        texts: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Write vectors ``[len(rows), dimension]``; existing rows are overwritten."""
        for part in self._split_rows(rows):
            arguments: dict[str, Any] = {"ids": _to_ids(rows[part]), "embeddings": vectors[part]}
            if texts is not None:
                arguments["documents"] = list(texts[part])
            if metadata is not None:
                arguments["metadatas"] = [dict(fields) or None for fields in metadata[part]]
            self._call("upsert", **arguments)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove vectors. Rows without a vector are ignored."""
        for part in self._split_rows(rows):
            self._call("delete", ids=_to_ids(rows[part]))

    def count(self) -> int:
        """Return the number of vectors."""
        return int(self._call("count"))

    def rows(self) -> list[int]:
        """Return the rows of all vectors."""
        rows: list[int] = []
        step = self._config.batch * 10 if not self._config.url else self._config.batch
        while ids := self._call("get", include=[], limit=step, offset=len(rows))["ids"]:
            rows += map(int, ids)
        return rows

    def vectors(self, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of those `rows` that have one, by row."""
        vectors: dict[int, NDArray[np.float32]] = {}
        for part in self._split_rows(rows):
            response = self._call("get", ids=_to_ids(rows[part]), include=["embeddings"])
            vectors.update(zip(map(int, response["ids"]), response["embeddings"], strict=True))
        return vectors

    def query(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """Return up to `k` nearest (row, cosine), best first. HNSW, which is approximate."""
        if k < 1:
            return []
        response = self._call(
            "query",
            query_embeddings=[vector],
            n_results=min(k, self.MAX_QUERY_RESULTS),
            include=["distances"],
        )
        return [
            (int(row_id), 1.0 - distance)
            for row_id, distance in zip(response["ids"][0], response["distances"][0], strict=True)
        ]

    def _split_rows(self, rows: Sequence[int]) -> Iterator[slice]:
        step = self._config.batch
        return (slice(i, i + step) for i in range(0, len(rows), step))

    def _call(self, method: str, **arguments: Any) -> Any:
        def call_method() -> Any:
            if self._closed:
                raise IndexDamaged(f"{self.location} was closed while in use, or replaced")
            return getattr(self._database.collection(self._name), method)(**arguments)

        return self._database.call(call_method)


def _to_ids(rows: Sequence[int]) -> list[str]:
    return [str(row) for row in rows]
