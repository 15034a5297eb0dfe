"""Writes of documents and chunks, and changes of their state."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Sequence
from typing import Literal

from rag.stores.document_store import LedgerEntry, PendingDocument
from rag.stores.sqlite.connection import split_for_sql, sql_placeholders
from rag.stores.sqlite.embedding_cache import EmbeddingCache
from rag.stores.sqlite.schema import TEXT_BLOCK_CHARACTERS
from rag.text.name_keys import list_document_keys
from rag.types import Chunk, Document, Mark


class DocumentWriter(EmbeddingCache):
    """Writes documents and changes their state (see `rag.stores.sqlite.schema`)."""

    def add_pending(
        self, documents: Sequence[PendingDocument], embedder: str
    ) -> tuple[list[int], list[int]]:
        """See `DocumentStore.add_pending`."""
        numbers: list[int] = []
        rows: list[int] = []
        with self.transaction():
            self.add_embeddings(
                embedder,
                (
                    (text_hash, vector.tobytes())
                    for pending in documents
                    for text_hash, vector in zip(pending.text_hashes, pending.vectors, strict=True)
                ),
            )
            for document, entry, chunks, text_hashes, _ in documents:
                number = self._insert_document(document, entry, len(chunks), embedder)
                numbers.append(number)
                for chunk, text_hash in zip(chunks, text_hashes, strict=True):
                    rows.append(self._insert_chunk(chunk, number, text_hash, embedder))
        return numbers, rows

    def _insert_chunk(
        self, chunk: Chunk, document_number: int, text_hash: bytes, embedder: str
    ) -> int:
        """Insert a chunk with a reference to its cached embedding; return its row."""
        cursor = self._write_connection.execute(
            'INSERT INTO chunks (id, document, start, "end", location, headings, heading_context,'
            " text_hash, marks, embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " (SELECT number FROM embeddings WHERE embedder = ? AND text_hash = ?))",
            (
                chunk.id,
                document_number,
                chunk.start,
                chunk.end,
                json.dumps(chunk.location, ensure_ascii=False),
                json.dumps(chunk.headings, ensure_ascii=False),
                chunk.heading_context,
                text_hash,
                dump_marks(chunk.marks),
                embedder,
                text_hash,
            ),
        )
        return int(cursor.lastrowid or 0)

    def _insert_document(
        self, document: Document, entry: LedgerEntry, chunk_count: int, embedder: str
    ) -> int:
        """Insert a pending document and its text, in compressed blocks; return its number."""
        cursor = self._write_connection.execute(
            "INSERT INTO documents (uri, source, state, digest, title, mime, metadata, marks,"
            " length, chunks, source_version, content_hash, parser, chunker, parts, owner_id,"
            " embedder, written, identity)"
            " VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                document.uri,
                entry.source,
                entry.digest,
                document.title,
                document.mime,
                json.dumps(document.metadata, ensure_ascii=False),
                _compress_text(dump_marks(document.marks)),
                len(document.text),
                chunk_count,
                entry.source_version,
                entry.content_hash,
                entry.parser,
                entry.chunker,
                entry.parts,
                entry.owner_id,
                embedder,
                time.time(),
                json.dumps(document.identity, ensure_ascii=False),
            ),
        )
        number = int(cursor.lastrowid or 0)
        self._write_connection.executemany(
            "INSERT INTO identity_keys VALUES (?, ?, ?)",
            [(key, number, w) for key, w in list_document_keys(document.identity).items()],
        )
        self._write_connection.executemany(
            "INSERT INTO blocks VALUES (?, ?, ?)",
            (
                (
                    number,
                    i // TEXT_BLOCK_CHARACTERS,
                    _compress_text(document.text[i : i + TEXT_BLOCK_CHARACTERS]),
                )
                for i in range(0, len(document.text), TEXT_BLOCK_CHARACTERS)
            ),
        )
        return number

    def make_live(self, documents: Sequence[int]) -> None:
        """Make the pending `documents` live and their older versions deleted, all at once."""
        with self.transaction():
            for batch in split_for_sql(documents):
                placeholders = sql_placeholders(batch)
                self._write_connection.execute(
                    "UPDATE documents SET state = 'deleted' WHERE state = 'live' AND uri IN"
                    f" (SELECT uri FROM documents WHERE id IN ({placeholders}))",
                    batch,
                )
                self._write_connection.execute(
                    f"UPDATE documents SET state = 'live' WHERE id IN ({placeholders})", batch
                )
                self._write_connection.execute(
                    "DELETE FROM failures WHERE uri IN"
                    f" (SELECT uri FROM documents WHERE id IN ({placeholders}))",
                    batch,
                )
            self._increment_generation()

    def stage(self, documents: Sequence[int]) -> None:
        """Make the pending `documents` staged: they become live when the re-embedding ends."""
        with self.transaction():
            for batch in split_for_sql(documents):
                self._write_connection.execute(
                    "UPDATE documents SET state = 'staged'"
                    f" WHERE id IN ({sql_placeholders(batch)})",
                    batch,
                )

    def discard(self, state: Literal["pending", "staged"], *, except_embedder: str = "") -> int:
        """See `DocumentStore.discard`."""
        with self.transaction():
            return self._write_connection.execute(
                "UPDATE documents SET state = 'deleted' WHERE state = ? AND embedder != ?",
                (state, except_embedder),
            ).rowcount

    def documents_to_stage(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (number, uri) of up to `limit` live documents not staged yet, by number.

        Only documents with a number above `after`.
        """
        return [
            (int(number), str(uri))
            for number, uri in self._fetch_rows(
                "SELECT id, uri FROM documents d WHERE state = 'live' AND id > ?"
                " AND NOT EXISTS (SELECT 1 FROM documents"
                " WHERE state = 'staged' AND uri = d.uri) ORDER BY id LIMIT ?",
                (after, limit),
            )
        ]

    def activate_store_set(
        self,
        number: int,
        embedder: str | None = None,
        replacement: Literal["pending", "staged"] | None = None,
    ) -> None:
        """See `DocumentStore.activate_store_set`."""
        with self.transaction() as connection:
            if replacement is not None:
                connection.execute("UPDATE documents SET state = 'deleted' WHERE state = 'live'")
                connection.execute(
                    "UPDATE documents SET state = 'live' WHERE state = ?", (replacement,)
                )
            if embedder is not None:
                self._write_meta("embedder", embedder)
            self._write_meta("store_set", str(number))
            self._increment_generation()

    def mark_deleted(self, uris: Sequence[str]) -> int:
        """Mark the live documents with these uris as deleted; return their number."""
        deleted_count = 0
        with self.transaction():
            for batch in split_for_sql(uris):
                placeholders = sql_placeholders(batch)
                deleted_count += self._write_connection.execute(
                    "UPDATE documents SET state = 'deleted' WHERE state = 'live'"
                    f" AND uri IN ({placeholders})",
                    batch,
                ).rowcount
                self._write_connection.execute(
                    f"DELETE FROM failures WHERE uri IN ({placeholders})", batch
                )
            if deleted_count:
                self._increment_generation()
        return deleted_count

    def deleted_chunk_rows(self, limit: int) -> list[int]:
        """Return rows of up to `limit` chunks of deleted documents, for removal from all stores."""
        return [
            int(row)
            for (row,) in self._fetch_rows(
                "SELECT c.row FROM documents d JOIN chunks c ON c.document = d.id"
                " WHERE d.state = 'deleted' LIMIT ?",
                (limit,),
            )
        ]

    def remove_chunks(self, rows: Sequence[int]) -> None:
        """Delete chunks that are no longer in the vector store and the lexical index."""
        with self.transaction():
            for batch in split_for_sql(rows):
                self._write_connection.execute(
                    f"DELETE FROM chunks WHERE row IN ({sql_placeholders(batch)})", batch
                )

    def remove_deleted_documents(self) -> None:
        """Delete the rows of deleted documents that have no chunks left."""
        with self.transaction():
            deleted = (
                "SELECT id FROM documents WHERE state = 'deleted'"
                " AND NOT EXISTS (SELECT 1 FROM chunks WHERE document = documents.id)"
            )
            for table in ("blocks", "identity_keys"):
                self._write_connection.execute(f"DELETE FROM {table} WHERE document IN ({deleted})")
            self._write_connection.execute(f"DELETE FROM documents WHERE id IN ({deleted})")

    def remove_deleted_with_chunks(self) -> None:
        """Delete the rows of all deleted documents and their chunks.

        Only for a document store whose store set holds none of these chunks.
        """
        with self.transaction() as connection:
            deleted = "SELECT id FROM documents WHERE state = 'deleted'"
            for table in ("chunks", "blocks", "identity_keys"):
                connection.execute(f"DELETE FROM {table} WHERE document IN ({deleted})")
            connection.execute("DELETE FROM documents WHERE state = 'deleted'")


def dump_marks(marks: Sequence[Mark]) -> str:
    """Return marks as JSON; "[]" if there are none."""
    return json.dumps([mark.model_dump(mode="json") for mark in marks], ensure_ascii=False)


def _compress_text(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)
