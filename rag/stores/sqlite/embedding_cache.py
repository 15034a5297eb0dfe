"""The embedding cache: the vector of each text that was embedded, by embedder and text hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rag.stores.sqlite.connection import SqliteConnection, split_for_sql, sql_placeholders

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingCache(SqliteConnection):
    """Reads and writes vectors by embedder and text hash."""

    def add_embeddings(self, embedder: str, embeddings: Iterable[tuple[bytes, bytes]]) -> None:
        """See `DocumentStore.add_embeddings`."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO embeddings (embedder, text_hash, vector) VALUES (?, ?, ?)",
                ((embedder, text_hash, vector) for text_hash, vector in embeddings),
            )

    def replace_embeddings(
        self, embedder: str, rows: Sequence[int], embeddings: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Replace lost or broken embeddings of the chunks `rows`: one new embedding for each."""
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
        """Return the cached vectors (float32 bytes) of `embedder`, by text hash."""
        vectors: dict[bytes, bytes] = {}
        for batch in split_for_sql(hashes):
            vectors.update(
                self._fetch_rows(
                    "SELECT text_hash, vector FROM embeddings WHERE embedder = ?"
                    f" AND text_hash IN ({sql_placeholders(batch)})",
                    (embedder, *batch),
                )
            )
        return vectors

    def vectors(self, rows: Sequence[int], embedder: str) -> tuple[list[int], NDArray[np.float32]]:
        """Return those of the chunks `rows` with a vector, sorted, and float32 ``[n, d]``."""
        import numpy as np

        row_vectors: list[tuple[int, bytes]] = []
        for batch in split_for_sql(rows):
            row_vectors += self._fetch_rows(
                "SELECT c.row, e.vector FROM chunks c JOIN embeddings e ON e.number = c.embedding"
                " AND e.embedder = ? AND e.text_hash = c.text_hash"
                f" WHERE c.row IN ({sql_placeholders(batch)})",
                (embedder, *batch),
            )
        if not row_vectors:
            return [], np.zeros((0, 0), dtype=np.float32)
        row_vectors.sort()
        try:
            if len({len(vector) for _, vector in row_vectors}) > 1:
                raise ValueError("vectors of different lengths")
            matrix = np.frombuffer(b"".join(vector for _, vector in row_vectors), dtype=np.float32)
            return [row for row, _ in row_vectors], matrix.reshape(len(row_vectors), -1)
        except ValueError as error:
            raise self._make_damage_error(error) from error

    def delete_unused_embeddings(self) -> int:
        """Delete the embeddings that no chunk uses; return their number."""
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM embeddings WHERE number NOT IN"
                " (SELECT embedding FROM chunks WHERE embedding IS NOT NULL)"
            ).rowcount
