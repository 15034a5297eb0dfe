"""Search without an index: every live vector in memory, compared with each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.index.library import Library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExactVectors:
    """All live vectors in memory, brought up to date when the library has changed."""

    def __init__(self, library: Library, fingerprint: str) -> None:
        self._library = library
        self._fingerprint = fingerprint
        self._guard = threading.Lock()
        self._generation = -1
        self._held: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    def search(
        self, vector: NDArray[np.float32], k: int, allowed: Sequence[int] | None
    ) -> list[tuple[int, float]]:
        """Up to `k` chunks (row, cosine), best first, ties by row; among `allowed` where given."""
        import numpy as np

        rows, matrix = self._current()
        if allowed is not None:
            among = np.isin(rows, np.asarray(allowed, dtype=np.int64))
            rows, matrix = rows[among], matrix[among]
        if not len(rows) or k < 1:
            return []
        scores = matrix @ vector
        best = np.argpartition(-scores, k)[: k + 1] if k + 1 < len(rows) else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))][:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def _current(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        import numpy as np

        with self._guard:
            generation = self._library.generation
            if self._held is not None and generation == self._generation:
                return self._held
            live = np.array(self._library.all_live_rows(), dtype=np.int64)
            if self._held is None:
                kept_rows, kept = np.zeros(0, dtype=np.int64), None
            else:
                stay = np.isin(self._held[0], live)
                kept_rows, kept = self._held[0][stay], self._held[1][stay]
            missing = np.setdiff1d(live, kept_rows, assume_unique=True).tolist()
            found, fresh = self._library.vectors(missing, self._fingerprint)
            rows = np.concatenate((kept_rows, np.array(found, dtype=np.int64)))
            parts = [part for part in (kept, fresh) if part is not None and len(part)]
            matrix = np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)
            self._held, self._generation = (rows, matrix), generation
            return self._held
