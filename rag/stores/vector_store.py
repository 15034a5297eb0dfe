"""The contract of vector stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.stores.location import DerivedStoreConfig, StoreLocation
from rag.types import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class VectorStoreConfig(DerivedStoreConfig):
    """Configuration of a vector store: the component that a pipeline names."""

    kind: ClassVar[str] = "vector_store"

    @abstractmethod
    def open(self, location: StoreLocation) -> VectorStore:
        """Open the store. Raises `IndexDamaged` if its storage is missing or broken."""


class VectorStore(ABC):
    """Vectors by chunk row: a copy of those in the document store, for fast search.

    A row is the number of a chunk in the document store; it is never used again for another
    chunk. Vectors are float32. The similarity is the inner product, which for normalized vectors
    is the cosine. Threads may share a store; one process writes at a time, and others read
    meanwhile. Every method may raise `IndexDamaged`, and `IndexUnreachable` if a server does not
    answer. A write must be durable when the method returns. All vectors of one store have the same
    dimension.
    """

    max_query_results: ClassVar[int] = 1_000_000
    """Most rows that `query` can return."""
    filters_documents: ClassVar[bool] = False
    """Whether `query` returns only chunks of the documents that it is given. If not, the index
    queries for more rows and filters them itself."""
    stores_chunks: bool = False
    """Whether `upsert` stores texts and metadata of the chunks, and so needs them."""

    @abstractmethod
    def upsert(
        self,
        rows: Sequence[int],
        documents: Sequence[int],
        vectors: NDArray[np.float32],
        chunks: Sequence[Chunk],
    ) -> None:
        """Write vectors ``[len(rows), dimension]``; existing rows are overwritten.

        `documents` are the numbers of the documents that the chunks belong to. `chunks` may be
        empty, unless the store sets `stores_chunks`.
        """

    @abstractmethod
    def delete(self, rows: Sequence[int]) -> None:
        """Remove vectors. Rows without a vector are ignored."""

    @abstractmethod
    def query(
        self, vector: NDArray[np.float32], k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` nearest (row, similarity), best first. Ties have any order.

        With `documents`, a store that `filters_documents` returns only their chunks.
        """

    @abstractmethod
    def vectors(self, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of those `rows` that have one, by row."""

    @abstractmethod
    def rows(self) -> list[int]:
        """Return the rows of all vectors."""

    def count(self) -> int:
        """Return the number of vectors."""
        return len(self.rows())

    def refresh(self, generation: int) -> None:  # noqa: B027 (most see writes at once)
        """Make reads and writes see what other processes wrote up to `generation`.

        The index calls it before searches and before `begin_writing`.
        """

    def begin_writing(self) -> None:  # noqa: B027
        """Prepare for writes of this process, until `end_writing`."""

    def end_writing(self, generation: int) -> None:  # noqa: B027
        """End the writes of this process. It has seen everything up to `generation`."""

    def storage_exists(self) -> bool:
        """Whether the storage that was opened still exists. Checked before each write session.

        Override it if the store has files. Return False if they were deleted.
        """
        return True

    def close(self) -> None:  # noqa: B027
        """Release files and connections. Called more than once."""
