"""Exact vector search: all vectors in memory, each compared with the query."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rag.stores.location import StoreLocation
from rag.stores.vector_store import VectorStore, VectorStoreConfig
from rag.types import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_DELETED_SHARE, _MAX_DELETED_ROWS = 0.2, 1_000  # above both, deleted rows are dropped


class Exact(VectorStoreConfig):
    """Keep all vectors in memory, and compare each with the query: exact, without files.

    The memory is 4 bytes per value: 1 GiB for 1,000,000 chunks with vectors of 256 values. The
    vectors are read from the document store when the index is opened.
    """

    name: ClassVar[str] = "exact"
    is_persistent: ClassVar[bool] = False

    def create(self, location: StoreLocation) -> None:
        """Do nothing: there are no files."""

    def open(self, location: StoreLocation) -> ExactVectorStore:
        """Return an empty store."""
        return ExactVectorStore()


class _Arrays(NamedTuple):
    """The stored rows, sorted, with their vectors, and room for more."""

    rows: NDArray[np.int64]
    documents: NDArray[np.int64]
    is_live: NDArray[np.bool_]
    matrix: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Iterable[NDArray[Any]]) -> _Arrays:
        """Return the arrays in the order of the fields."""
        return cls(*arrays)

    def head(self, count: int) -> _Arrays:
        """Return views of the first `count` entries."""
        return _Arrays.of(array[:count] for array in self.as_list())

    def as_list(self) -> list[NDArray[Any]]:
        """Return the arrays in the order of the fields."""
        return [self.rows, self.documents, self.is_live, self.matrix]


class ExactVectorStore(VectorStore):
    """Rows, document numbers and vectors in memory, sorted by row.

    New rows are usually higher than all earlier ones and are appended. Deleted rows stay in memory
    until they are many.
    """

    filters_documents: ClassVar[bool] = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrays: _Arrays | None = None
        self._entry_count = 0
        self._deleted_count = 0

    @property
    def last_row(self) -> int:
        """Highest row stored, or 0."""
        arrays = self._current_arrays()
        return int(arrays.rows[-1]) if arrays is not None and len(arrays.rows) else 0

    def _current_arrays(self) -> _Arrays | None:
        with self._lock:
            return None if self._arrays is None else self._arrays.head(self._entry_count)

    def upsert(
        self,
        rows: Sequence[int],
        documents: Sequence[int],
        vectors: NDArray[np.float32],
        chunks: Sequence[Chunk] = (),
    ) -> None:
        """See `VectorStore.upsert`. The chunks are not stored."""
        import numpy as np

        if not len(rows):
            return
        order = np.argsort(np.asarray(rows, dtype=np.int64), kind="stable")
        new = _Arrays(
            np.asarray(rows, dtype=np.int64)[order],
            np.asarray(documents, dtype=np.int64)[order],
            np.ones(len(rows), dtype=np.bool_),
            np.asarray(vectors, dtype=np.float32)[order],
        )
        with self._lock:
            if self._arrays is None:
                self._arrays, self._entry_count = new, len(rows)
                return
            stored = self._arrays.head(self._entry_count)
            if len(stored.rows) and new.rows[0] <= stored.rows[-1]:
                is_kept = stored.is_live & ~np.isin(stored.rows, new.rows)
                merged = [
                    np.concatenate([a[is_kept], b])
                    for a, b in zip(stored.as_list(), new.as_list(), strict=True)
                ]
                merged_order = np.argsort(merged[0], kind="stable")
                self._arrays = _Arrays.of(array[merged_order] for array in merged)
                self._entry_count, self._deleted_count = len(merged_order), 0
                return
            self._arrays = _Arrays.of(
                _append_items(array, self._entry_count, items)
                for array, items in zip(self._arrays.as_list(), new.as_list(), strict=True)
            )
            self._entry_count += len(rows)

    def delete(self, rows: Sequence[int]) -> None:
        """See `VectorStore.delete`."""
        import numpy as np

        with self._lock:
            if self._arrays is None:
                return
            arrays = self._arrays.head(self._entry_count)
            is_deleted = np.isin(arrays.rows, np.asarray(rows, dtype=np.int64)) & arrays.is_live
            self._deleted_count += int(is_deleted.sum())
            is_live = arrays.is_live & ~is_deleted
            if self._deleted_count > _MAX_DELETED_ROWS + _MAX_DELETED_SHARE * self._entry_count:
                self._arrays = _Arrays.of(array[is_live] for array in arrays.as_list())
                self._entry_count, self._deleted_count = int(is_live.sum()), 0
            else:
                flags = self._arrays.is_live.copy()  # a running search keeps the earlier array
                flags[: self._entry_count] = is_live
                self._arrays = self._arrays._replace(is_live=flags)

    def query(
        self, vector: NDArray[np.float32], k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """See `VectorStore.query`. Ties are ordered by row."""
        import numpy as np

        arrays = self._current_arrays()
        if arrays is None or k < 1:
            return []
        is_allowed = None
        if documents is not None:
            numbers = np.fromiter(documents, dtype=np.int64, count=len(documents))
            is_allowed = np.isin(arrays.documents, numbers) & arrays.is_live
        elif not arrays.is_live.all():
            is_allowed = arrays.is_live
        rows, matrix = arrays.rows, arrays.matrix
        if is_allowed is not None:
            rows, matrix = rows[is_allowed], matrix[is_allowed]
        if not len(rows):
            return []
        scores = compute_cosines(matrix, vector)
        best = np.argpartition(-scores, k)[: k + 1] if k + 1 < len(rows) else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))][:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def matrix(self, rows: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return those of `rows` that have a vector, sorted, and their vectors ``[n, d]``."""
        import numpy as np

        arrays = self._current_arrays()
        if arrays is None:
            return [], np.zeros((0, 0), dtype=np.float32)
        sorted_rows = np.array(sorted(rows), dtype=np.int64)
        positions = np.searchsorted(arrays.rows, sorted_rows)
        is_stored = positions < len(arrays.rows)
        is_stored[is_stored] = (arrays.rows[positions[is_stored]] == sorted_rows[is_stored]) & (
            arrays.is_live[positions[is_stored]]
        )
        return sorted_rows[is_stored].tolist(), arrays.matrix[positions[is_stored]]

    def vectors(self, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """See `VectorStore.vectors`."""
        return dict(zip(*self.matrix(rows), strict=True))

    def rows(self) -> list[int]:
        """See `VectorStore.rows`."""
        arrays = self._current_arrays()
        return [] if arrays is None else [int(row) for row in arrays.rows[arrays.is_live]]

    def count(self) -> int:
        """See `VectorStore.count`."""
        with self._lock:
            return self._entry_count - self._deleted_count


def compute_cosines(
    matrix: NDArray[np.float32], vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the inner product of each row of ``[n, d]`` with ``[d]``, in this thread alone.

    ``matrix @ vector`` is 1.5 times as fast on an idle machine. But it waits for the
    threads of the linear algebra library, which are late on a machine that is busy ingesting.
    """
    import numpy as np

    cosines: NDArray[np.float32] = np.einsum("ij,j->i", matrix, vector)
    return cosines


def _append_items(array: NDArray[Any], count: int, items: NDArray[Any]) -> NDArray[Any]:
    """Return the first `count` items of `array` followed by `items`; in place if there is room."""
    import numpy as np

    needed = count + len(items)
    if needed > len(array):
        longer = np.zeros((max(needed, len(array) * 3 // 2), *array.shape[1:]), dtype=array.dtype)
        longer[:count] = array[:count]
        array = longer
    array[count:needed] = items
    return array
