"""Reads of documents and chunks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rag.errors import DocumentNotFound
from rag.filters import Filter, Where
from rag.stores.sqlite.connection import SqliteConnection, _batches, _slots
from rag.stores.sqlite.document_writer import _BLOCK
from rag.stores.sqlite.filter_sql import _condition
from rag.types import Chunk, Document, LocationIndex, Mark, SourceLocation

if TYPE_CHECKING:
    pass


_PLACES = 16  # documents whose marks are kept at hand, as their citations come together


class ChunkSpan(NamedTuple):
    """A chunk's row, its span in its document, and the headings it stands below."""

    row: int
    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """What `Library.documents` lists of a document."""

    uri: str
    title: str
    mime: str
    characters: int
    chunks: int
    written: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Numbers of what is live, and what is not."""

    documents: int
    chunks: int
    characters: int
    cached_embeddings: int
    failures: int
    unfinished: int


class DocumentReader(SqliteConnection):
    """Reads documents, chunks and texts."""

    def live_rows(self, after: int = 0) -> dict[int, int]:
        """Every live chunk behind row `after`: the number of its document by row, in order."""
        return dict(
            self._rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                " WHERE d.state = 'live' AND c.row > ? ORDER BY c.row",
                (after,),
            )
        )

    def live_of(self, rows: Sequence[int]) -> dict[int, int]:
        """Those of the chunk rows that are live, with the number of their document."""
        return {
            int(row): int(document)
            for batch in _batches(rows)
            for row, document in self._rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = 'live' AND c.row IN ({_slots(batch)})",
                batch,
            )
        }

    def chunks(self, rows: Sequence[int], state: str = "live") -> dict[int, Chunk]:
        """Chunks of those of the `rows` that are live (or in `state`), with their text, by row."""
        with self._read_snapshot():
            return self._chunks(rows, state)

    def _chunks(self, rows: Sequence[int], state: str) -> dict[int, Chunk]:
        found: dict[int, Chunk] = {}
        for batch in _batches(rows):
            for (
                row,
                name,
                number,
                start,
                end,
                place,
                headings,
                context,
                uri,
                title,
                meta,
            ) in self._rows(
                'SELECT c.row, c.id, c.document, c.start, c."end", c.place, c.headings,'
                " c.context, d.uri, d.title, d.metadata"
                " FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = ? AND c.row IN ({_slots(batch)})",
                (state, *batch),
            ):
                found[row] = Chunk(
                    id=name,
                    uri=uri,
                    start=start,
                    end=end,
                    text=self._text(number, start, end),
                    title=title,
                    headings=json.loads(headings),
                    heading_context=context,
                    location=json.loads(place),
                    metadata=json.loads(meta),
                )
        return found

    def chunk_rows_after(self, state: str, after: int, limit: int) -> list[tuple[int, int]]:
        """(row, document) of up to `limit` chunks in `state` behind row `after`, in order."""
        return [
            (int(row), int(document))
            for row, document in self._rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                " WHERE d.state = ? AND c.row > ? ORDER BY c.row LIMIT ?",
                (state, after, limit),
            )
        ]

    def chunk_count(self, state: str = "live") -> int:
        """Number of chunks of the documents in `state`."""
        found = self._rows(
            "SELECT coalesce(sum(chunks), 0) FROM documents WHERE state = ?", (state,)
        )
        return int(found[0][0])

    def rows_of(self, documents: Sequence[int]) -> list[int]:
        """Rows of the chunks of these documents."""
        return [
            int(row)
            for batch in _batches(documents)
            for (row,) in self._rows(
                f"SELECT row FROM chunks WHERE document IN ({_slots(batch)})", batch
            )
        ]

    def outline(self, uri: str) -> list[ChunkSpan]:
        """Chunks of the live document `uri`, in the order of its text; none where it is gone."""
        return [
            ChunkSpan(row, start, end, tuple(json.loads(headings)))
            for row, start, end, headings in self._rows(
                'SELECT c.row, c.start, c."end", c.headings FROM chunks c'
                " JOIN documents d ON d.id = c.document"
                " WHERE d.uri = ? AND d.state = 'live' ORDER BY c.start, c.\"end\"",
                (uri,),
            )
        ]

    def document(self, uri: str) -> Document:
        """Return the live document `uri`. Raises `DocumentNotFound`."""
        with self._read_snapshot():
            number, length = self._live(uri)
            ((title, mime, metadata, marks),) = self._rows(
                "SELECT title, mime, metadata, marks FROM documents WHERE id = ?", (number,)
            )
            text = self._text(number, 0, length)
        return Document(
            uri=uri,
            text=text,
            title=title,
            mime=mime,
            metadata=json.loads(metadata),
            marks=self._marks(marks),
        )

    def text(self, uri: str, start: int, end: int) -> str:
        """Characters ``[start, end)`` of the live document `uri`. Raises `DocumentNotFound`."""
        with self._read_snapshot():
            number, length = self._live(uri)
            return self._text(number, max(0, start), min(end, length))

    def location(self, uri: str, offset: int) -> SourceLocation:
        """Where the character at `offset` of the live document `uri` stands."""
        with self._read_snapshot():
            number, _ = self._live(uri)
            places = self._places.get(number)
            if places is None:
                ((marks,),) = self._rows("SELECT marks FROM documents WHERE id = ?", (number,))
                places = LocationIndex(self._marks(marks))
                self._places = dict([*list(self._places.items())[-_PLACES:], (number, places)])
        return places.locate(offset)

    def _marks(self, compressed: bytes) -> tuple[Mark, ...]:
        return tuple(Mark.model_validate(mark) for mark in json.loads(self._expanded(compressed)))

    def _live(self, uri: str) -> tuple[int, int]:
        found = self._rows(
            "SELECT id, length FROM documents WHERE uri = ? AND state = 'live'", (uri,)
        )
        if not found:
            raise DocumentNotFound(f"the index holds no document {uri}")
        return int(found[0][0]), int(found[0][1])

    def _text(self, document: int, start: int, end: int) -> str:
        if end <= start:
            return ""
        first = start // _BLOCK
        blocks = self._rows(
            "SELECT text FROM blocks WHERE document = ? AND number BETWEEN ? AND ? ORDER BY number",
            (document, first, (end - 1) // _BLOCK),
        )
        text = "".join(self._expanded(block) for (block,) in blocks)
        return text[start - first * _BLOCK : end - first * _BLOCK]

    def _expanded(self, compressed: bytes) -> str:
        try:
            return zlib.decompress(compressed).decode()
        except (zlib.error, UnicodeDecodeError, TypeError) as error:
            raise self._broken(error) from error

    def documents(self) -> list[DocumentInfo]:
        """List the live documents, sorted by uri."""
        return [
            DocumentInfo(
                uri=uri, title=title, mime=mime, characters=length, chunks=chunks, written=written
            )
            for uri, title, mime, length, chunks, written in self._rows(
                "SELECT uri, title, mime, length, chunks, written FROM documents"
                " WHERE state = 'live' ORDER BY uri"
            )
        ]

    def stats(self) -> Stats:
        """Count everything."""
        ((documents, characters),) = self._rows(
            "SELECT count(*), coalesce(sum(length), 0) FROM documents WHERE state = 'live'"
        )
        ((embeddings, failures, unfinished),) = self._rows(
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
        """Numbers of the live documents that `where` selects, with their numbers of chunks.

        Raises `QueryError`.
        """
        condition, bound = _condition(Filter.of(where))
        sql = f"SELECT d.id, d.chunks FROM documents d WHERE d.state = 'live' AND {condition}"
        return dict(self._rows(sql, bound))
