"""Which document a chunk belongs to, for many lookups in one state of the index."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.stores.document_store import DocumentStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_ROWS_IN_MEMORY = 1_000_000


class LiveRows:
    """The live chunks and their documents.

    They are looked up in the document store. After as many lookups in one state of the index as it
    has chunks, all of them are read into memory, so that it costs at most twice what either way
    does.
    """

    def __init__(self, document_store: DocumentStore) -> None:
        self._document_store = document_store
        self._lock = threading.Lock()
        self._generation = -1
        self._lookup_count = 0
        self._chunk_count = 0
        self._arrays: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def find_documents(self, rows: Sequence[int]) -> dict[int, int]:
        """Return the document number of those chunks of `rows` that are live, by row."""
        arrays = self._load_arrays(len(rows))
        if arrays is None:
            return self._document_store.live_documents_by_row(rows)
        import numpy as np

        live_rows, documents = arrays
        wanted = np.asarray(rows, dtype=np.int64)
        positions = np.searchsorted(live_rows, wanted)
        positions[positions == len(live_rows)] = 0
        is_live = live_rows[positions] == wanted
        found_documents = documents[positions[is_live]].tolist()
        return dict(zip(wanted[is_live].tolist(), found_documents, strict=True))

    def _load_arrays(self, lookup_count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Count the lookups; return rows, in order, and documents if they are in memory."""
        import numpy as np

        with self._lock:
            generation = self._document_store.generation
            if generation != self._generation:
                self._generation, self._arrays, self._lookup_count = generation, None, 0
                self._chunk_count = self._document_store.chunk_count()
            if self._arrays is None:
                self._lookup_count += lookup_count
                if not 0 < self._chunk_count <= min(self._lookup_count, _MAX_ROWS_IN_MEMORY):
                    return None
                live = self._document_store.live_rows()
                if self._document_store.generation != generation or not live:
                    return None
                self._arrays = (
                    np.fromiter(live.keys(), dtype=np.int64, count=len(live)),
                    np.fromiter(live.values(), dtype=np.int64, count=len(live)),
                )
            return self._arrays
