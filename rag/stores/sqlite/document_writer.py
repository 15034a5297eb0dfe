"""Writes of documents and chunks, and the changes of their state."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rag.stores.sqlite.connection import _batches, _slots
from rag.stores.sqlite.embedding_cache import EmbeddingCache
from rag.stores.sqlite.ledger import LedgerEntry
from rag.types import Chunk, Document

if TYPE_CHECKING:
    pass


class DocumentWriter(EmbeddingCache):
    """Writes documents, and moves them from state to state."""

    def add_pending(
        self,
        documents: Sequence[tuple[Document, LedgerEntry, Sequence[Chunk], Sequence[bytes]]],
        embedder: str,
        embeddings: Iterable[tuple[bytes, bytes]],
    ) -> tuple[list[int], list[int]]:
        """Write documents as pending, with their chunks and the new embeddings, in one go.

        Each document comes with its ledger entry, its chunks and the hash of each chunk's
        embedded text; `embeddings` are (text hash, float32 bytes). Returns the numbers of the
        documents and of all their chunks, in order.
        """
        numbers: list[int] = []
        rows: list[int] = []
        with self.transaction():
            execute = self._writer.execute
            self.add_embeddings(embedder, embeddings)
            for document, entry, chunks, hashes in documents:
                number = self._insert_document(document, entry, len(chunks), embedder)
                numbers.append(number)
                for chunk, text_hash in zip(chunks, hashes, strict=True):
                    cursor = execute(
                        'INSERT INTO chunks (id, document, start, "end", place, headings, context,'
                        " text_hash, embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?,"
                        " (SELECT number FROM embeddings WHERE embedder = ? AND text_hash = ?))",
                        (
                            chunk.id,
                            number,
                            chunk.start,
                            chunk.end,
                            json.dumps(chunk.location, ensure_ascii=False),
                            json.dumps(chunk.headings, ensure_ascii=False),
                            chunk.heading_context,
                            text_hash,
                            embedder,
                            text_hash,
                        ),
                    )
                    rows.append(int(cursor.lastrowid or 0))
        return numbers, rows

    def _insert_document(
        self, document: Document, entry: LedgerEntry, chunks: int, embedder: str
    ) -> int:
        marks = [mark.model_dump(mode="json") for mark in document.marks]
        cursor = self._writer.execute(
            "INSERT INTO documents (uri, source, state, digest, title, mime, metadata, marks,"
            " length, chunks, source_version, content_hash, parser, chunker, parts, origin,"
            " embedder, written)"
            " VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                document.uri,
                entry.source,
                entry.digest,
                document.title,
                document.mime,
                json.dumps(document.metadata, ensure_ascii=False),
                _compressed(json.dumps(marks, ensure_ascii=False)),
                len(document.text),
                chunks,
                entry.source_version,
                entry.content_hash,
                entry.parser,
                entry.chunker,
                entry.parts,
                entry.owner_id,
                embedder,
                time.time(),
            ),
        )
        number = int(cursor.lastrowid or 0)
        self._writer.executemany(
            "INSERT INTO blocks VALUES (?, ?, ?)",
            (
                (number, i // _BLOCK, _compressed(document.text[i : i + _BLOCK]))
                for i in range(0, len(document.text), _BLOCK)
            ),
        )
        return number

    def make_live(self, documents: Sequence[int]) -> None:
        """Let searches find the pending `documents` in place of older versions, all at once."""
        with self.transaction():
            for batch in _batches(documents):
                slots = _slots(batch)
                self._writer.execute(
                    "UPDATE documents SET state = 'doomed' WHERE state = 'live' AND uri IN"
                    f" (SELECT uri FROM documents WHERE id IN ({slots}))",
                    batch,
                )
                self._writer.execute(
                    f"UPDATE documents SET state = 'live' WHERE id IN ({slots})", batch
                )
                self._writer.execute(
                    "DELETE FROM failures WHERE uri IN"
                    f" (SELECT uri FROM documents WHERE id IN ({slots}))",
                    batch,
                )
            self._next_generation()

    def stage(self, documents: Sequence[int]) -> None:
        """Keep the pending `documents` for the moment when another embedder takes over."""
        with self.transaction():
            for batch in _batches(documents):
                self._writer.execute(
                    f"UPDATE documents SET state = 'staged' WHERE id IN ({_slots(batch)})", batch
                )

    def discard_staged(self, embedder: str = "") -> int:
        """Give up what was staged with another embedder than this; returns how many documents."""
        with self.transaction():
            return self._writer.execute(
                "UPDATE documents SET state = 'doomed' WHERE state = 'staged' AND embedder != ?",
                (embedder,),
            ).rowcount

    def documents_to_stage(self, after: int, limit: int) -> list[tuple[int, str]]:
        """(number, uri) of up to `limit` live documents behind `after` not staged yet, in order."""
        return [
            (int(number), str(uri))
            for number, uri in self._rows(
                "SELECT id, uri FROM documents d WHERE state = 'live' AND id > ?"
                " AND NOT EXISTS (SELECT 1 FROM documents"
                " WHERE state = 'staged' AND uri = d.uri) ORDER BY id LIMIT ?",
                (after, limit),
            )
        ]

    def activate_stores(self, derived: int, embedder: str | None = None) -> None:
        """Let searches use the stores `derived` from now on.

        With the note about another `embedder`, the staged documents take the place of all that
        are live, in the same moment.
        """
        with self.transaction():
            if embedder is not None:
                self._writer.execute("UPDATE documents SET state = 'doomed' WHERE state = 'live'")
                self._writer.execute("UPDATE documents SET state = 'live' WHERE state = 'staged'")
                self._set_meta("embedder", embedder)
            self._set_meta("derived", str(derived))
            self._next_generation()

    def mark_deleted(self, uris: Sequence[str]) -> int:
        """Hide the live documents with these uris from now on; returns how many there were."""
        doomed = 0
        with self.transaction():
            for batch in _batches(uris):
                slots = _slots(batch)
                doomed += self._writer.execute(
                    "UPDATE documents SET state = 'doomed' WHERE state = 'live'"
                    f" AND uri IN ({slots})",
                    batch,
                ).rowcount
                self._writer.execute(f"DELETE FROM failures WHERE uri IN ({slots})", batch)
            if doomed:
                self._next_generation()
        return doomed

    def discard_pending(self) -> int:
        """Give up what an interrupted run left half-written; returns how many documents."""
        with self.transaction():
            return self._writer.execute(
                "UPDATE documents SET state = 'doomed' WHERE state = 'pending'"
            ).rowcount

    def deleted_chunk_rows(self, limit: int) -> list[int]:
        """Rows of up to `limit` chunks that are to leave the other stores."""
        return [
            int(row)
            for (row,) in self._rows(
                "SELECT c.row FROM documents d JOIN chunks c ON c.document = d.id"
                " WHERE d.state = 'doomed' LIMIT ?",
                (limit,),
            )
        ]

    def remove_chunks(self, rows: Sequence[int]) -> None:
        """Forget chunks that are gone from the other stores."""
        with self.transaction():
            for batch in _batches(rows):
                self._writer.execute(f"DELETE FROM chunks WHERE row IN ({_slots(batch)})", batch)

    def remove_deleted_documents(self) -> None:
        """Forget doomed documents of which no chunk is left."""
        with self.transaction():
            gone = (
                "SELECT id FROM documents WHERE state = 'doomed'"
                " AND NOT EXISTS (SELECT 1 FROM chunks WHERE document = documents.id)"
            )
            self._writer.execute(f"DELETE FROM blocks WHERE document IN ({gone})")
            self._writer.execute(f"DELETE FROM documents WHERE id IN ({gone})")

    def remove_deleted(self) -> None:
        """Forget all doomed documents: for a library without stores beside it."""
        with self.transaction() as connection:
            doomed = "SELECT id FROM documents WHERE state = 'doomed'"
            for table in ("chunks", "blocks"):
                connection.execute(f"DELETE FROM {table} WHERE document IN ({doomed})")
            connection.execute("DELETE FROM documents WHERE state = 'doomed'")


def _compressed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)


_BLOCK = 1 << 12  # characters of a text compressed together: what reading any span costs
