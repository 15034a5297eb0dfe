"""Search without an index: every vector in memory, compared with each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rag.index.library import Library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExactVectors:
    """The vectors of the live chunks in memory, in order of their rows.

    Rows of new chunks are higher than all before, so that they are appended. Chunks that are no
    longer live stay until they are many: who searches drops them.
    """

    def __init__(self, library: Library, fingerprint: str) -> None:
        self._library = library
        self._fingerprint = fingerprint
        self._guard = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew: rows may have become live that are lower than others."""
        self._generation = -1
        self._count = 0
        self._rows: NDArray[np.int64] | None = None
        self._matrix: NDArray[np.float32] | None = None

    def search(
        self, vector: NDArray[np.float32], k: int, allowed: Sequence[int] | None
    ) -> list[tuple[int, float]]:
        """Up to `k` chunks (row, cosine), best first, ties by row; among `allowed` where given."""
        import numpy as np

        rows, matrix = self._current()
        if allowed is not None:
            wanted = np.asarray(allowed, dtype=np.int64)
            places = np.searchsorted(rows, wanted)
            places = places[np.append(rows, -1)[places] == wanted]
            rows, matrix = rows[places], matrix[places]
        if not len(rows) or k < 1:
            return []
        scores = matrix @ vector
        best = np.argpartition(-scores, k)[: k + 1] if k + 1 < len(rows) else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))][:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def _current(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with self._guard:
            generation = self._library.generation
            if generation != self._generation:
                if self._count > 1_000 + 1.2 * self._library.chunk_count():
                    self.forget()
                self._append()
                self._generation = generation
            assert self._rows is not None and self._matrix is not None
            return self._rows[: self._count], self._matrix[: self._count]

    def _append(self) -> None:
        """Read what is behind the last row held. Arrays handed out before stay as they are."""
        import numpy as np

        last = int(self._rows[self._count - 1]) if self._rows is not None and self._count else 0
        found, fresh = self._library.vectors(self._library.live_rows(last), self._fingerprint)
        count = self._count + len(found)
        if self._rows is None or self._matrix is None or not self._count:
            self._rows, self._matrix = np.array(found, dtype=np.int64), fresh
        elif found:
            self._rows = _roomy(self._rows, self._count, count)
            self._matrix = _roomy(self._matrix, self._count, count)
            self._rows[self._count : count] = found
            self._matrix[self._count : count] = fresh
        self._count = count


def _roomy(array: NDArray[Any], held: int, needed: int) -> NDArray[Any]:
    """The array itself if it has room for `needed` items, or a longer copy of the `held` first."""
    import numpy as np

    if needed <= len(array):
        return array
    longer = np.zeros((max(needed, len(array) * 3 // 2), *array.shape[1:]), dtype=array.dtype)
    longer[:held] = array[:held]
    return longer
