"""The vector store in Chroma: collections of vectors by chunk row, built from the document store.

`Chroma` is the configuration, `ChromaCollection` one collection. Chroma runs embedded in this
process on a folder of the index, or as a server (see `rag.stores.chroma_database`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from rag.call_context import check_limits
from rag.component import NotFingerprinted
from rag.errors import IndexDamaged
from rag.stores.chroma_database import EmbeddedDatabase, ServerDatabase
from rag.stores.location import StoreLocation
from rag.stores.vector_store import VectorStore, VectorStoreConfig
from rag.types import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ROWS_PER_CALL = 5_000  # Chroma's own limit is 5,461
_EMBEDDED_COLLECTION = "chunks"


class Chroma(VectorStoreConfig):
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

    def create(self, location: StoreLocation) -> None:
        """See `VectorStoreConfig.create`."""
        if not self.url:
            location.folder.mkdir(parents=True, exist_ok=True)

    def open(self, location: StoreLocation) -> ChromaCollection:
        """See `VectorStoreConfig.open`."""
        if self.url:
            return ChromaCollection(self, location.folder, f"citewell-{location.name}")
        if not location.folder.is_dir():
            raise IndexDamaged(
                f"there is no folder {location.folder}: {IndexDamaged.REFILL_HINT}",
                path=location.folder,
            )
        return ChromaCollection(self, location.folder, _EMBEDDED_COLLECTION)

    def remove(self, location: StoreLocation) -> None:
        """See `VectorStoreConfig.remove`."""
        if self.url:
            with closing(self.open(location)) as collection:
                collection.drop()


class ChromaCollection(VectorStore):
    """Vectors by chunk row in one collection, opened at first use.

    `path` is the folder of an embedded Chroma; a server does not use it. Similarity is the inner
    product, which for normalised vectors is the cosine. Only rows and vectors are stored: text and
    metadata are in the document store, which also evaluates filters (measurements in
    ``docs/decisions.md``). Threads may share it.
    """

    max_query_results: ClassVar[int] = MAX_ROWS_PER_CALL

    def __init__(self, config: Chroma, path: Path, collection: str) -> None:
        self._config = config
        self._name = collection
        self.stores_chunks = config.store_text
        self._path = path
        self._database = ServerDatabase(config) if config.url else EmbeddedDatabase.acquire(path)
        self._is_writing = False
        self._closed = False

    @property
    def location(self) -> str:
        """Folder, or url of the server."""
        return self._database.location

    def refresh(self, generation: int) -> None:
        """See `VectorStore.refresh`."""
        self._database.refresh(generation)

    def begin_writing(self) -> None:
        """Keep the current client while this process writes: a client sees its own writes."""
        if not self._is_writing:
            self._is_writing = True
            self._database.begin_writing()

    def end_writing(self, generation: int) -> None:
        """See `VectorStore.end_writing`."""
        if self._is_writing:
            self._is_writing = False
            self._database.end_writing(generation)

    def storage_exists(self) -> bool:
        """See `VectorStore.storage_exists`."""
        return bool(self._config.url) or self._path.is_dir()

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
        documents: Sequence[int],
        vectors: NDArray[np.float32],
        chunks: Sequence[Chunk],
    ) -> None:
        """See `VectorStore.upsert`. The chunks are stored only if ``store_text`` is set."""
        for part in self._split_rows(rows):
            check_limits()
            arguments: dict[str, Any] = {"ids": _to_ids(rows[part]), "embeddings": vectors[part]}
            if self._config.store_text:
                arguments["documents"] = [chunk.text for chunk in chunks[part]]
                arguments["metadatas"] = [_to_metadata(chunk) for chunk in chunks[part]]
            self._call("upsert", **arguments)

    def delete(self, rows: Sequence[int]) -> None:
        """See `VectorStore.delete`."""
        for part in self._split_rows(rows):
            self._call("delete", ids=_to_ids(rows[part]))

    def count(self) -> int:
        """See `VectorStore.count`."""
        return int(self._call("count"))

    def rows(self) -> list[int]:
        """See `VectorStore.rows`."""
        rows: list[int] = []
        step = self._config.batch * 10 if not self._config.url else self._config.batch
        while ids := self._call("get", include=[], limit=step, offset=len(rows))["ids"]:
            rows += map(int, ids)
        return rows

    def vectors(self, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """See `VectorStore.vectors`."""
        vectors: dict[int, NDArray[np.float32]] = {}
        for part in self._split_rows(rows):
            response = self._call("get", ids=_to_ids(rows[part]), include=["embeddings"])
            vectors.update(zip(map(int, response["ids"]), response["embeddings"], strict=True))
        return vectors

    def query(
        self, vector: NDArray[np.float32], k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """See `VectorStore.query`. HNSW, which is approximate, in all documents."""
        if k < 1:
            return []
        response = self._call(
            "query",
            query_embeddings=[vector],
            n_results=min(k, self.max_query_results),
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


def _to_metadata(chunk: Chunk) -> dict[str, object]:
    fields = {f"meta.{key}": value for key, value in chunk.metadata.items() if value != ()}
    fields |= {
        "id": chunk.id,
        "uri": chunk.uri,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
    }
    return {key: _to_metadata_value(value) for key, value in fields.items()}


def _to_metadata_value(value: object) -> object:
    """Return a metadata value that Chroma accepts: its lists must have items of one type.

    The caller leaves out empty lists, which Chroma rejects.
    """
    if not isinstance(value, tuple):
        return value
    return list(value) if len({type(item) for item in value}) == 1 else [str(v) for v in value]
