"""The embedding cache: the vector of every text that was embedded, by the hash of the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rag.stores.sqlite.connection import SqliteConnection, _batches, _slots

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingCache(SqliteConnection):
    """Vectors by embedder and text hash."""

    def add_embeddings(self, embedder: str, embeddings: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep embeddings (text hash, float32 bytes) in the cache."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO embeddings (embedder, text_hash, vector) VALUES (?, ?, ?)",
                ((embedder, text_hash, vector) for text_hash, vector in embeddings),
            )

    def replace_embeddings(
        self, embedder: str, rows: Sequence[int], embeddings: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Give the chunks `rows` new embeddings in place of lost or broken ones, one each."""
        with self.transaction() as connection:
            connection.executemany(
                "DELETE FROM embeddings WHERE embedder = ? AND text_hash = ?",
                ((embedder, text_hash) for text_hash, _ in embeddings),
            )
            self.add_embeddings(embedder, embeddings)
            connection.executemany(
                "UPDATE chunks SET embedding ="
                " (SELECT number FROM embeddings WHERE embedder = ? AND text_hash = ?)"
                " WHERE row = ?",
                (
                    (embedder, text_hash, row)
                    for row, (text_hash, _) in zip(rows, embeddings, strict=True)
                ),
            )

    def cached_embeddings(self, embedder: str, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Vectors (float32 bytes) by text hash, of those that `embedder` has embedded before."""
        found: dict[bytes, bytes] = {}
        for batch in _batches(hashes):
            found.update(
                self._rows(
                    "SELECT text_hash, vector FROM embeddings WHERE embedder = ?"
                    f" AND text_hash IN ({_slots(batch)})",
                    (embedder, *batch),
                )
            )
        return found

    def vectors(self, rows: Sequence[int], embedder: str) -> tuple[list[int], NDArray[np.float32]]:
        """Vectors of the chunks `rows`: the rows that have one, sorted, and float32 ``[n, d]``."""
        import numpy as np

        found: list[tuple[int, bytes]] = []
        for batch in _batches(rows):
            found += self._rows(
                "SELECT c.row, e.vector FROM chunks c JOIN embeddings e ON e.number = c.embedding"
                " AND e.embedder = ? AND e.text_hash = c.text_hash"
                f" WHERE c.row IN ({_slots(batch)})",
                (embedder, *batch),
            )
        if not found:
            return [], np.zeros((0, 0), dtype=np.float32)
        found.sort()
        try:
            if len({len(vector) for _, vector in found}) > 1:
                raise ValueError("vectors of different lengths")
            matrix = np.frombuffer(b"".join(vector for _, vector in found), dtype=np.float32)
            return [row for row, _ in found], matrix.reshape(len(found), -1)
        except ValueError as error:
            raise self._broken(error) from error

    def forget_unused_embeddings(self) -> int:
        """Drop the embeddings of texts that no chunk has any more; returns how many."""
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM embeddings WHERE number NOT IN"
                " (SELECT embedding FROM chunks WHERE embedding IS NOT NULL)"
            ).rowcount
