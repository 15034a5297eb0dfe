"""Reads of documents and chunks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from functools import lru_cache

from rag.errors import DocumentNotFound
from rag.filters import F, Filter, Where
from rag.stores.document_store import (
    ChunkRow,
    ChunkSpan,
    DocumentInfo,
    DocumentState,
    NamedDocument,
    Stats,
)
from rag.stores.filter_fields import warn_of_unknown_fields
from rag.stores.sqlite.connection import SqliteConnection, split_for_sql, sql_placeholders
from rag.stores.sqlite.filter_sql import filter_to_sql
from rag.stores.sqlite.schema import TEXT_BLOCK_CHARACTERS
from rag.types import Chunk, Document, LocationIndex, Mark, Scalar, SourceLocation

_CACHED_HEADINGS = 16_384  # paths of headings; many chunks have the same
_CACHED_LOCATION_INDEXES = 16  # documents; the citations of one answer come from few


@lru_cache(maxsize=_CACHED_HEADINGS)
def _read_headings(headings: str) -> tuple[str, ...]:
    return tuple(json.loads(headings))


class DocumentReader(SqliteConnection):
    """Reads documents, chunks and texts."""

    def live_rows(self, after: int = 0) -> dict[int, int]:
        """Return the document number of each live chunk above row `after`, by row, in order."""
        return dict(
            self._fetch_rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                " WHERE d.state = 'live' AND c.row > ? ORDER BY c.row",
                (after,),
            )
        )

    def live_documents_by_row(self, rows: Sequence[int]) -> dict[int, int]:
        """Return the document number of those chunks of `rows` that are live, by row."""
        return {
            int(row): int(document)
            for batch in split_for_sql(rows)
            for row, document in self._fetch_rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = 'live' AND c.row IN ({sql_placeholders(batch)})",
                batch,
            )
        }

    def chunks(self, rows: Sequence[int], state: DocumentState = "live") -> dict[int, Chunk]:
        """Return those chunks of `rows` that are live (or in `state`), with their text, by row."""
        with self._read_snapshot():
            return self._read_chunks(rows, state)

    def _read_chunks(self, rows: Sequence[int], state: DocumentState) -> dict[int, Chunk]:
        chunks: dict[int, Chunk] = {}
        for batch in split_for_sql(rows):
            for (
                row,
                chunk_id,
                number,
                start,
                end,
                location,
                headings,
                heading_context,
                marks,
                uri,
                title,
                metadata,
            ) in self._fetch_rows(
                'SELECT c.row, c.id, c.document, c.start, c."end", c.location, c.headings,'
                " c.heading_context, c.marks, d.uri, d.title, d.metadata"
                " FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = ? AND c.row IN ({sql_placeholders(batch)})",
                (state, *batch),
            ):
                chunks[row] = Chunk(
                    id=chunk_id,
                    uri=uri,
                    start=start,
                    end=end,
                    text=self._read_text(number, start, end),
                    title=title,
                    headings=json.loads(headings),
                    heading_context=heading_context,
                    location=json.loads(location),
                    metadata=json.loads(metadata),
                    marks=() if marks == "[]" else json.loads(marks),
                )
        return chunks

    def headings_by_row(self, rows: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """See `DocumentStore.headings_by_row`."""
        return {
            int(row): _read_headings(headings)
            for batch in split_for_sql(rows)
            for row, headings in self._fetch_rows(
                "SELECT c.row, c.headings FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = 'live' AND c.row IN ({sql_placeholders(batch)})",
                batch,
            )
        }

    def chunk_rows_after(self, state: DocumentState, after: int, limit: int) -> list[ChunkRow]:
        """Return (row, document) of up to `limit` chunks in `state` above row `after`, in order."""
        return [
            ChunkRow(int(row), int(document))
            for row, document in self._fetch_rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                " WHERE d.state = ? AND c.row > ? ORDER BY c.row LIMIT ?",
                (state, after, limit),
            )
        ]

    def chunk_count(self, state: DocumentState = "live") -> int:
        """Return the number of chunks of the documents in `state`."""
        ((count,),) = self._fetch_rows(
            "SELECT coalesce(sum(chunks), 0) FROM documents WHERE state = ?", (state,)
        )
        return int(count)

    def rows_of_documents(self, documents: Sequence[int]) -> list[int]:
        """Return the rows of the chunks of these documents."""
        return [
            int(row)
            for batch in split_for_sql(documents)
            for (row,) in self._fetch_rows(
                f"SELECT row FROM chunks WHERE document IN ({sql_placeholders(batch)})", batch
            )
        ]

    def outline(self, uri: str) -> list[ChunkSpan]:
        """Return the chunks of the live document `uri` in text order; empty if there is none."""
        return [
            ChunkSpan(row, start, end, tuple(json.loads(headings)))
            for row, start, end, headings in self._fetch_rows(
                'SELECT c.row, c.start, c."end", c.headings FROM chunks c'
                " JOIN documents d ON d.id = c.document"
                " WHERE d.uri = ? AND d.state = 'live' ORDER BY c.start, c.\"end\"",
                (uri,),
            )
        ]

    def document(self, uri: str) -> Document:
        """Return the live document `uri`. Raises `DocumentNotFound`."""
        with self._read_snapshot():
            number, length = self._find_live_document(uri)
            ((title, mime, metadata, marks, identity),) = self._fetch_rows(
                "SELECT title, mime, metadata, marks, identity FROM documents WHERE id = ?",
                (number,),
            )
            text = self._read_text(number, 0, length)
        return Document(
            uri=uri,
            text=text,
            title=title,
            mime=mime,
            metadata=json.loads(metadata),
            marks=self._decode_marks(marks),
            identity=json.loads(identity),
        )

    def text(self, uri: str, start: int, end: int) -> str:
        """Return characters ``[start, end)`` of the live document. Raises `DocumentNotFound`."""
        with self._read_snapshot():
            number, length = self._find_live_document(uri)
            return self._read_text(number, max(0, start), min(end, length))

    def location(self, uri: str, offset: int) -> SourceLocation:
        """Return the source location of the character at `offset` of the live document `uri`.

        Raises `DocumentNotFound`.
        """
        with self._read_snapshot():
            number, _ = self._find_live_document(uri)
            location_index = self._location_indexes.get(number)
            if location_index is None:
                ((marks,),) = self._fetch_rows(
                    "SELECT marks FROM documents WHERE id = ?", (number,)
                )
                location_index = LocationIndex(self._decode_marks(marks))
                recent = list(self._location_indexes.items())[-_CACHED_LOCATION_INDEXES:]
                self._location_indexes = dict([*recent, (number, location_index)])
        return location_index.locate(offset)

    def _decode_marks(self, compressed: bytes) -> tuple[Mark, ...]:
        marks = json.loads(self._decompress_text(compressed))
        return tuple(Mark.model_validate(mark) for mark in marks)

    def _find_live_document(self, uri: str) -> tuple[int, int]:
        """Return number and length of the live document. Raises `DocumentNotFound`."""
        rows = self._fetch_rows(
            "SELECT id, length FROM documents WHERE uri = ? AND state = 'live'", (uri,)
        )
        if not rows:
            raise DocumentNotFound(f"the index holds no document {uri}", uri=uri)
        return int(rows[0][0]), int(rows[0][1])

    def _read_text(self, document: int, start: int, end: int) -> str:
        if end <= start:
            return ""
        first = start // TEXT_BLOCK_CHARACTERS
        blocks = self._fetch_rows(
            "SELECT text FROM blocks WHERE document = ? AND number BETWEEN ? AND ? ORDER BY number",
            (document, first, (end - 1) // TEXT_BLOCK_CHARACTERS),
        )
        text = "".join(self._decompress_text(block) for (block,) in blocks)
        return text[start - first * TEXT_BLOCK_CHARACTERS : end - first * TEXT_BLOCK_CHARACTERS]

    def _decompress_text(self, compressed: bytes) -> str:
        try:
            return zlib.decompress(compressed).decode()
        except (zlib.error, UnicodeDecodeError, TypeError) as error:
            raise self._make_damage_error(error) from error

    def documents(self) -> list[DocumentInfo]:
        """List the live documents, sorted by uri."""
        return [
            DocumentInfo(
                number=number,
                uri=uri,
                title=title,
                mime=mime,
                characters=length,
                chunks=chunks,
                written_at=written_at,
            )
            for number, uri, title, mime, length, chunks, written_at in self._fetch_rows(
                "SELECT id, uri, title, mime, length, chunks, written FROM documents"
                " WHERE state = 'live' ORDER BY uri"
            )
        ]

    def identities(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Return `Document.identity` of each live document, by uri, sorted by uri."""
        rows = self._fetch_rows(
            "SELECT uri, identity FROM documents WHERE state = 'live' ORDER BY uri"
        )
        return {
            str(uri): {origin: tuple(terms) for origin, terms in json.loads(identity).items()}
            for uri, identity in rows
        }

    def find_named_documents(
        self,
        keys: Sequence[str],
        *,
        limit: int,
        documents: Collection[int] | None = None,
        min_weight: float = 0.0,
    ) -> dict[str, dict[int, NamedDocument]]:
        """See `DocumentStore.find_named_documents`."""
        restriction, values = "", tuple[int, ...]()
        if documents is not None:
            values = tuple(documents)
            restriction = f" AND k.document IN ({sql_placeholders(values)})"
        documents_by_key: dict[str, dict[int, NamedDocument]] = {}
        for batch in split_for_sql(keys):
            for (key,) in self._fetch_rows(
                f"SELECT DISTINCT key FROM identity_keys WHERE key IN ({sql_placeholders(batch)})",
                batch,
            ):
                rows = self._fetch_rows(
                    "SELECT k.document, k.weight, d.chunks FROM identity_keys k"
                    " JOIN documents d ON d.id = k.document"
                    f" WHERE k.key = ? AND k.weight >= ? AND d.state = 'live'{restriction} LIMIT ?",
                    (key, min_weight, *values, limit + 1),
                )
                if rows and len(rows) <= limit:
                    documents_by_key[key] = {
                        number: NamedDocument(w, chunks) for number, w, chunks in rows
                    }
        return documents_by_key

    def uris_of_documents(self, documents: Sequence[int]) -> dict[int, str]:
        """Return the uris of the live documents with these numbers, by number."""
        return {
            int(number): str(uri)
            for batch in split_for_sql(documents)
            for number, uri in self._fetch_rows(
                "SELECT id, uri FROM documents WHERE state = 'live'"
                f" AND id IN ({sql_placeholders(batch)})",
                batch,
            )
        }

    def document_count(self) -> int:
        """Return the number of live documents."""
        ((count,),) = self._fetch_rows("SELECT count(*) FROM documents WHERE state = 'live'")
        return int(count)

    def stats(self) -> Stats:
        """Count documents, chunks, characters, cached embeddings and failures."""
        ((documents, characters),) = self._fetch_rows(
            "SELECT count(*), coalesce(sum(length), 0) FROM documents WHERE state = 'live'"
        )
        ((embeddings, failures, unfinished),) = self._fetch_rows(
            "SELECT (SELECT count(*) FROM embeddings), (SELECT count(*) FROM failures),"
            " (SELECT count(*) FROM documents WHERE state != 'live')"
        )
        return Stats(
            documents=documents,
            chunks=self.chunk_count(),
            characters=characters,
            cached_embeddings=embeddings,
            failures=failures,
            unfinished=unfinished,
        )

    def matching_documents(self, where: Where) -> dict[int, int]:
        """Return the chunk count of each live document that `where` selects, by document number.

        Raises `QueryError`.
        """
        warn_of_unknown_fields(self.unknown_fields(where))
        condition, values = filter_to_sql(Filter.of(where))
        sql = f"SELECT d.id, d.chunks FROM documents d WHERE d.state = 'live' AND {condition}"
        return dict(self._fetch_rows(sql, values))

    def _find_missing_fields(self, names: Sequence[str]) -> list[str]:
        missing: list[str] = []
        for name in names:
            condition, values = filter_to_sql(F(name).exists())
            sql = f"SELECT 1 FROM documents d WHERE d.state = 'live' AND {condition} LIMIT 1"
            if not self._fetch_rows(sql, values):
                missing.append(name)
        return missing

    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields of the live documents, sorted."""
        return [
            name
            for (name,) in self._fetch_rows(
                "SELECT DISTINCT f.key FROM documents d, json_each(d.metadata) f"
                " WHERE d.state = 'live' ORDER BY f.key"
            )
        ]

    def metadata_values(
        self, fields: Sequence[str], limit: int
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """See `DocumentStore.metadata_values`."""
        values: dict[str, list[tuple[Scalar, int]]] = {field: [] for field in fields}
        for batch in split_for_sql(fields):
            keys = sql_placeholders(batch)
            rows = self._fetch_rows(
                "SELECT key, type, value, count(DISTINCT document) FROM ("
                " SELECT d.id AS document, f.key AS key, f.type AS type, f.value AS value"
                " FROM documents d, json_each(d.metadata) f"
                f" WHERE d.state = 'live' AND f.type != 'array' AND f.key IN ({keys})"
                " UNION ALL SELECT d.id, f.key, v.type, v.value"
                " FROM documents d, json_each(d.metadata) f, json_each(f.value) v"
                f" WHERE d.state = 'live' AND f.type = 'array' AND f.key IN ({keys})"
                ") GROUP BY key, type, value ORDER BY 4 DESC",
                (*batch, *batch),
            )
            for key, kind, value, count in rows:
                if kind != "null" and len(values[key]) < limit:
                    is_boolean = kind in ("true", "false")
                    values[key].append((kind == "true" if is_boolean else value, int(count)))
        return values
