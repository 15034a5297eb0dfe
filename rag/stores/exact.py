"""Exact vector search: all vectors in memory, each compared with the query."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag.stores.sqlite import SqliteDocumentStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExactVectorStore:
    """Rows, document numbers and vectors of the live chunks in memory, sorted by row.

    The rows of new chunks are higher than all earlier ones, so new chunks are appended. Chunks
    that are no longer live stay in memory until they are many; callers drop them from results.
    """

    def __init__(self, document_store: SqliteDocumentStore, fingerprint: str) -> None:
        self._document_store = document_store
        self._fingerprint = fingerprint
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all vectors: the next search reads them again.

        Needed when rows became live that are lower than rows in memory.
        """
        self._generation = -1
        self._row_count = 0
        self._arrays: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None

    def search(
        self, vector: NDArray[np.float32], k: int, allowed: Mapping[int, object] | None
    ) -> list[tuple[int, float]]:
        """Return up to `k` chunks (row, cosine), best first, ties by row.

        With `allowed`, only chunks of these documents.
        """
        import numpy as np

        rows, owners, matrix = self._load_current_arrays()
        if allowed is not None:
            is_allowed = np.isin(owners, np.fromiter(allowed, dtype=np.int64, count=len(allowed)))
            rows, matrix = rows[is_allowed], matrix[is_allowed]
        if not len(rows) or k < 1:
            return []
        scores = compute_cosines(matrix, vector)
        best = np.argpartition(-scores, k)[: k + 1] if k + 1 < len(rows) else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))][:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def vectors_of_rows(self, rows: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Return those of the chunks `rows` that are in memory, and their vectors ``[n, d]``."""
        import numpy as np

        stored_rows, _, matrix = self._load_current_arrays()
        sorted_rows = np.array(sorted(rows), dtype=np.int64)
        positions = np.searchsorted(stored_rows, sorted_rows)
        is_stored = positions < len(stored_rows)
        is_stored[is_stored] = stored_rows[positions[is_stored]] == sorted_rows[is_stored]
        return sorted_rows[is_stored].tolist(), matrix[positions[is_stored]]

    def _load_current_arrays(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        with self._lock:
            generation = self._document_store.generation
            if generation != self._generation:
                if self._row_count > 1_000 + 1.2 * self._document_store.chunk_count():
                    self.clear()
                self._append_new_rows()
                self._generation = generation
            assert self._arrays is not None
            rows, owners, matrix = self._arrays
            return rows[: self._row_count], owners[: self._row_count], matrix[: self._row_count]

    def _append_new_rows(self) -> None:
        """Read the chunks after the last row in memory. Arrays returned earlier do not change."""
        import numpy as np

        last = 0
        if self._arrays is not None and self._row_count:
            last = int(self._arrays[0][self._row_count - 1])
        live = self._document_store.live_rows(last)
        new_rows, matrix = self._document_store.vectors(list(live), self._fingerprint)
        rows = np.array(new_rows, dtype=np.int64)
        owners = np.array([live[row] for row in new_rows], dtype=np.int64)
        if self._arrays is None or not self._row_count:
            self._arrays = rows, owners, matrix
        elif new_rows:
            stored_rows, stored_owners, stored_matrix = self._arrays
            self._arrays = (
                _append_items(stored_rows, self._row_count, rows),
                _append_items(stored_owners, self._row_count, owners),
                _append_items(stored_matrix, self._row_count, matrix),
            )
        self._row_count += len(new_rows)


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
