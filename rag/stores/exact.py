"""Search without an index: every vector in memory, compared with each."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag.stores.sqlite import SqliteDocumentStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExactVectorStore:
    """Rows, document numbers and vectors of the live chunks in memory, in order of their rows.

    Rows of new chunks are higher than all before, so that they are appended. Chunks that are no
    longer live stay until they are many: who searches drops them.
    """

    def __init__(self, library: SqliteDocumentStore, fingerprint: str) -> None:
        self._library = library
        self._fingerprint = fingerprint
        self._guard = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew: rows may have become live that are lower than others."""
        self._generation = -1
        self._count = 0
        self._held: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None

    def search(
        self, vector: NDArray[np.float32], k: int, allowed: Mapping[int, object] | None
    ) -> list[tuple[int, float]]:
        """Up to `k` chunks (row, cosine), best first, ties by row.

        Those of the documents `allowed` only, where given.
        """
        import numpy as np

        rows, owners, matrix = self._current()
        if allowed is not None:
            among = np.isin(owners, np.fromiter(allowed, dtype=np.int64, count=len(allowed)))
            rows, matrix = rows[among], matrix[among]
        if not len(rows) or k < 1:
            return []
        scores = cosines(matrix, vector)
        best = np.argpartition(-scores, k)[: k + 1] if k + 1 < len(rows) else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))][:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def of(self, rows: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
        """Those of the chunks `rows` that are held, and their vectors ``[n, d]``."""
        import numpy as np

        held, _, matrix = self._current()
        wanted = np.array(sorted(rows), dtype=np.int64)
        at = np.searchsorted(held, wanted)
        there = at < len(held)
        there[there] = held[at[there]] == wanted[there]
        return wanted[there].tolist(), matrix[at[there]]

    def _current(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        with self._guard:
            generation = self._library.generation
            if generation != self._generation:
                if self._count > 1_000 + 1.2 * self._library.chunk_count():
                    self.forget()
                self._append()
                self._generation = generation
            assert self._held is not None
            rows, owners, matrix = self._held
            return rows[: self._count], owners[: self._count], matrix[: self._count]

    def _append(self) -> None:
        """Read what is behind the last row held. Arrays handed out before stay as they are."""
        import numpy as np

        last = int(self._held[0][self._count - 1]) if self._held is not None and self._count else 0
        live = self._library.live_rows(last)
        found, matrix = self._library.vectors(list(live), self._fingerprint)
        rows = np.array(found, dtype=np.int64)
        owners = np.array([live[row] for row in found], dtype=np.int64)
        if self._held is None or not self._count:
            self._held = rows, owners, matrix
        elif found:
            held_rows, held_owners, held_matrix = self._held
            self._held = (
                _with(held_rows, self._count, rows),
                _with(held_owners, self._count, owners),
                _with(held_matrix, self._count, matrix),
            )
        self._count += len(found)


def cosines(matrix: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner product of each row of ``[n, d]`` with ``[d]``, in this thread alone.

    ``matrix @ vector`` is half as fast again on an idle machine, but it waits for the threads of
    the linear algebra library, and on one that is busy ingesting they are late.
    """
    import numpy as np

    found: NDArray[np.float32] = np.einsum("ij,j->i", matrix, vector)
    return found


def _with(array: NDArray[Any], held: int, more: NDArray[Any]) -> NDArray[Any]:
    """The first `held` items of `array` with `more` behind them; in place if there is room."""
    import numpy as np

    needed = held + len(more)
    if needed > len(array):
        longer = np.zeros((max(needed, len(array) * 3 // 2), *array.shape[1:]), dtype=array.dtype)
        longer[:held] = array[:held]
        array = longer
    array[held:needed] = more
    return array
