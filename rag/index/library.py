"""The library: one SQLite file, the authority over what the index holds.

All SQL of the framework is in this module. A document is in one of three states:

* ``pending``: being written; invisible.
* ``live``: found by searches. At most one version of a uri is live.
* ``doomed``: superseded, deleted or left behind by a crash; invisible, and to be removed from
  the vectors and the lexical index before its rows go.

Rows of documents and chunks are numbered for good: a number is never used twice, so that what
is left in another store can never be taken for something newer.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rag.errors import DocumentNotFound, IndexDamaged, IndexNotFound, QueryError, RagIndexError
from rag.types import Chunk, Document, Mark, Scalar, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")

SCHEMA_VERSION = "1"
_BLOCK = 1 << 15  # characters of a text compressed together: what reading any span costs
_MANY = 500  # values bound to one statement; SQLite's own limit is far above

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'live', 'doomed')),
    digest TEXT NOT NULL,
    title TEXT NOT NULL,
    mime TEXT NOT NULL,
    metadata TEXT NOT NULL,
    marks BLOB NOT NULL,
    length INTEGER NOT NULL,
    source_version TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    parser TEXT NOT NULL,
    chunker TEXT NOT NULL,
    written REAL NOT NULL
);
CREATE UNIQUE INDEX documents_live ON documents (uri) WHERE state = 'live';
CREATE INDEX documents_not_live ON documents (state) WHERE state != 'live';
CREATE TABLE blocks (
    document INTEGER NOT NULL REFERENCES documents (id),
    number INTEGER NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (document, number)
);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    document INTEGER NOT NULL REFERENCES documents (id),
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    page INTEGER,
    headings TEXT NOT NULL,
    context TEXT NOT NULL,
    text_hash BLOB NOT NULL
);
CREATE INDEX chunks_document ON chunks (document);
CREATE TABLE embeddings (
    number INTEGER PRIMARY KEY,
    embedder TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (embedder, text_hash)
);
CREATE TABLE failures (
    uri TEXT PRIMARY KEY,
    error TEXT NOT NULL,
    seen REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """How a document came into the index: what must be unchanged for it to stay as it is.

    ``digest`` is `Document.digest`, ``content_hash`` that of the source's bytes; ``parser`` and
    ``chunker`` are fingerprints.
    """

    source_version: str
    content_hash: str
    parser: str
    chunker: str
    digest: str


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


class Library:
    """Documents, chunks, ledger, embedding cache and failures in one SQLite file.

    May be shared by threads: reads go through one connection and writes through another, each
    behind a lock, so that a batch being written does not hold searches up. Raises `IndexNotFound`
    where there is no file and `create` is not set, `IndexDamaged` where it is not a library.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise IndexNotFound.at(path.parent)
        self.path = path
        self._reading, self._writing = threading.RLock(), threading.RLock()
        with self._damage_told():
            self._writer = self._connect()
            if create:
                self._create()
            self._reader = self._connect()
        if (found := self.meta("schema")) != SCHEMA_VERSION:
            self.close()
            raise RagIndexError(
                f"{self.path} has the format {found} of another version of citewell, this one "
                f"reads {SCHEMA_VERSION}: ingest into a new index (--index DIR)"
            )

    # -- connections and transactions ------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        for attempt in range(100):  # the switch does not wait for others that switch, too
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                if attempt == 99:
                    raise
                time.sleep(0.05)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -32768")
        return connection

    def _create(self) -> None:
        with self.transaction() as connection:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            self._set_meta("schema", SCHEMA_VERSION)
            self._set_meta("generation", "0")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of what is inside, or nothing."""
        with self._writing, self._damage_told():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise RagIndexError(f"{self.path} was closed while in use") from error
        except sqlite3.OperationalError as error:
            raise RagIndexError(f"cannot use {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(f"{self.path} is damaged: {error}") from error

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading, self._damage_told():
                return self._reader.execute(sql, values).fetchall()
        except (OverflowError, UnicodeEncodeError) as error:
            raise QueryError(f"a value that cannot be looked up: {error}") from None

    def close(self) -> None:
        """Close the file, when what is being read and written is done."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    # -- meta ------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """Return a note the index keeps about itself."""
        found = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(found[0][0]) if found else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a note."""
        with self.transaction():
            self._set_meta(key, value)

    def _set_meta(self, key: str, value: str) -> None:
        self._writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def generation(self) -> int:
        """A number that grows whenever what searches find changes."""
        return int(self.meta("generation") or 0)

    def _next_generation(self) -> None:
        self._writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    # -- writing ---------------------------------------------------------------------------

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
            for document, entry, chunks, hashes in documents:
                number = self._insert_document(document, entry)
                numbers.append(number)
                for chunk, text_hash in zip(chunks, hashes, strict=True):
                    cursor = execute(
                        'INSERT INTO chunks (id, document, start, "end", page, headings, context,'
                        " text_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            chunk.id,
                            number,
                            chunk.start,
                            chunk.end,
                            chunk.page,
                            json.dumps(chunk.headings, ensure_ascii=False),
                            chunk.context,
                            text_hash,
                        ),
                    )
                    rows.append(int(cursor.lastrowid or 0))
            self._writer.executemany(
                "INSERT OR IGNORE INTO embeddings (embedder, text_hash, vector) VALUES (?, ?, ?)",
                ((embedder, text_hash, vector) for text_hash, vector in embeddings),
            )
        return numbers, rows

    def _insert_document(self, document: Document, entry: LedgerEntry) -> int:
        marks = [mark.model_dump(mode="json") for mark in document.marks]
        cursor = self._writer.execute(
            "INSERT INTO documents (uri, state, digest, title, mime, metadata, marks, length,"
            " source_version, content_hash, parser, chunker, written)"
            " VALUES (?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                document.uri,
                entry.digest,
                document.title,
                document.mime,
                json.dumps(document.metadata, ensure_ascii=False),
                _compressed(json.dumps(marks, ensure_ascii=False)),
                len(document.text),
                entry.source_version,
                entry.content_hash,
                entry.parser,
                entry.chunker,
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

    def doom(self, uris: Sequence[str]) -> int:
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

    def doom_pending(self) -> int:
        """Give up what an interrupted run left half-written; returns how many documents."""
        with self.transaction():
            return self._writer.execute(
                "UPDATE documents SET state = 'doomed' WHERE state = 'pending'"
            ).rowcount

    def doomed(self, limit: int) -> list[tuple[int, str, int]]:
        """Up to `limit` chunks (row, id, document) that are to leave the other stores."""
        return [
            (int(row), str(name), int(document))
            for row, name, document in self._rows(
                "SELECT c.row, c.id, c.document FROM documents d JOIN chunks c ON c.document = d.id"
                " WHERE d.state = 'doomed' LIMIT ?",
                (limit,),
            )
        ]

    def remove_chunks(self, rows: Sequence[int]) -> None:
        """Forget chunks that are gone from the other stores."""
        with self.transaction():
            for batch in _batches(rows):
                self._writer.execute(f"DELETE FROM chunks WHERE row IN ({_slots(batch)})", batch)

    def remove_doomed(self) -> None:
        """Forget doomed documents of which no chunk is left."""
        with self.transaction():
            gone = (
                "SELECT id FROM documents WHERE state = 'doomed'"
                " AND NOT EXISTS (SELECT 1 FROM chunks WHERE document = documents.id)"
            )
            self._writer.execute(f"DELETE FROM blocks WHERE document IN ({gone})")
            self._writer.execute(f"DELETE FROM documents WHERE id IN ({gone})")

    def touch(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """Renew the ledger of live documents that turned out to be the same."""
        with self.transaction():
            for uri, entry in entries:
                self._writer.execute(
                    "UPDATE documents SET source_version = ?, content_hash = ?, parser = ?,"
                    " chunker = ? WHERE uri = ? AND state = 'live'",
                    (entry.source_version, entry.content_hash, entry.parser, entry.chunker, uri),
                )
                self._writer.execute("DELETE FROM failures WHERE uri = ?", (uri,))

    def record_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """Remember (uri, reason) of what could not be ingested."""
        now = time.time()
        with self.transaction():
            self._writer.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?)",
                ((uri, reason, now) for uri, reason in failures),
            )

    # -- ledger and cache ------------------------------------------------------------------

    def ledger(self, uri: str) -> LedgerEntry | None:
        """Return how the live version of `uri` was made; None where there is none."""
        found = self._rows(
            "SELECT source_version, content_hash, parser, chunker, digest FROM documents"
            " WHERE uri = ? AND state = 'live'",
            (uri,),
        )
        if not found:
            return None
        version, content, parser, chunker, digest = found[0]
        return LedgerEntry(
            source_version=version,
            content_hash=content,
            parser=parser,
            chunker=chunker,
            digest=digest,
        )

    def uris(self, prefix: str = "") -> list[str]:
        """Uris of the live documents, or of those that begin with `prefix`, sorted."""
        return [
            str(uri)
            for (uri,) in self._rows(
                "SELECT uri FROM documents WHERE state = 'live' AND uri >= ? AND"
                " substr(uri, 1, ?) = ? ORDER BY uri",
                (prefix, len(prefix), prefix),
            )
        ]

    def failures(self, prefix: str = "") -> list[tuple[str, str]]:
        """(uri, reason) of what could not be ingested when last tried, sorted."""
        return [
            (str(uri), str(error))
            for uri, error in self._rows(
                "SELECT uri, error FROM failures WHERE substr(uri, 1, ?) = ? ORDER BY uri",
                (len(prefix), prefix),
            )
        ]

    def forget_failures(self, uris: Sequence[str]) -> None:
        """Drop the failures of sources that are gone."""
        with self.transaction():
            self._writer.executemany("DELETE FROM failures WHERE uri = ?", ((uri,) for uri in uris))

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

    # -- reading ---------------------------------------------------------------------------

    def live_rows(self, chunk_ids: Sequence[str]) -> dict[str, int]:
        """Rows of those of the chunks that are live, by id."""
        found: dict[str, int] = {}
        for batch in _batches(chunk_ids):
            found.update(
                self._rows(
                    "SELECT c.id, c.row FROM chunks c JOIN documents d ON d.id = c.document"
                    f" WHERE d.state = 'live' AND c.id IN ({_slots(batch)})",
                    batch,
                )
            )
        return found

    def all_live_rows(self) -> list[int]:
        """Rows of every live chunk, in order."""
        return [
            int(row)
            for (row,) in self._rows(
                "SELECT c.row FROM chunks c JOIN documents d ON d.id = c.document"
                " WHERE d.state = 'live' ORDER BY c.row"
            )
        ]

    def live_of(self, rows: Sequence[int]) -> set[int]:
        """Those of the chunk rows that are live."""
        return {
            int(row)
            for batch in _batches(rows)
            for (row,) in self._rows(
                "SELECT c.row FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = 'live' AND c.row IN ({_slots(batch)})",
                batch,
            )
        }

    def vectors(self, rows: Sequence[int], embedder: str) -> tuple[list[int], NDArray[np.float32]]:
        """Vectors of the chunks `rows`: the rows that have one, and float32 ``[n, dimension]``."""
        import numpy as np

        found: list[tuple[int, bytes]] = []
        for batch in _batches(rows):
            found += self._rows(
                "SELECT c.row, e.vector FROM chunks c JOIN embeddings e"
                " ON e.embedder = ? AND e.text_hash = c.text_hash"
                f" WHERE c.row IN ({_slots(batch)})",
                (embedder, *batch),
            )
        if not found:
            return [], np.zeros((0, 0), dtype=np.float32)
        matrix = np.frombuffer(b"".join(vector for _, vector in found), dtype=np.float32)
        return [row for row, _ in found], matrix.reshape(len(found), -1)

    def chunks(self, rows: Sequence[int]) -> dict[int, Chunk]:
        """Chunks of those of the `rows` that are live, with their text, by row."""
        found: dict[int, Chunk] = {}
        for batch in _batches(rows):
            for (
                row,
                name,
                number,
                start,
                end,
                page,
                headings,
                context,
                uri,
                title,
                meta,
            ) in self._rows(
                'SELECT c.row, c.id, c.document, c.start, c."end", c.page, c.headings,'
                " c.context, d.uri, d.title, d.metadata"
                " FROM chunks c JOIN documents d ON d.id = c.document"
                f" WHERE d.state = 'live' AND c.row IN ({_slots(batch)})",
                batch,
            ):
                found[row] = Chunk(
                    id=name,
                    uri=uri,
                    start=start,
                    end=end,
                    text=self._text(number, start, end),
                    title=title,
                    headings=json.loads(headings),
                    context=context,
                    page=page,
                    metadata=json.loads(meta),
                )
        return found

    def live_chunks(self, after: int, limit: int) -> list[tuple[int, int]]:
        """(row, document) of up to `limit` live chunks behind row `after`, in order."""
        return [
            (int(row), int(document))
            for row, document in self._rows(
                "SELECT c.row, c.document FROM chunks c JOIN documents d ON d.id = c.document"
                " WHERE d.state = 'live' AND c.row > ? ORDER BY c.row LIMIT ?",
                (after, limit),
            )
        ]

    def live_chunk_count(self, documents: Sequence[int] | None = None) -> int:
        """Number of live chunks, in all or of these documents."""
        if documents is None:
            sql = "SELECT count(*) FROM chunks c JOIN documents d ON d.id = c.document"
            return int(self._rows(f"{sql} WHERE d.state = 'live'")[0][0])
        return sum(
            int(self._rows(f"SELECT count(*) FROM chunks WHERE document IN ({_slots(b)})", b)[0][0])
            for b in _batches(documents)
        )

    def chunk_count(self) -> int:
        """Number of chunks in any state: an upper bound of the live ones, found at once."""
        return int(self._rows("SELECT count(*) FROM chunks")[0][0])

    def rows_of(self, documents: Sequence[int]) -> list[int]:
        """Rows of the chunks of these documents."""
        return [
            int(row)
            for batch in _batches(documents)
            for (row,) in self._rows(
                f"SELECT row FROM chunks WHERE document IN ({_slots(batch)})", batch
            )
        ]

    def document(self, uri: str) -> Document:
        """Return the live document `uri`. Raises `DocumentNotFound`."""
        number, length = self._live(uri)
        ((title, mime, metadata, marks),) = self._rows(
            "SELECT title, mime, metadata, marks FROM documents WHERE id = ?", (number,)
        )
        return Document(
            uri=uri,
            text=self._text(number, 0, length),
            title=title,
            mime=mime,
            metadata=json.loads(metadata),
            marks=_marks(marks),
        )

    def text(self, uri: str, start: int, end: int) -> str:
        """Characters ``[start, end)`` of the live document `uri`. Raises `DocumentNotFound`."""
        number, length = self._live(uri)
        return self._text(number, max(0, start), min(end, length))

    def page(self, uri: str, offset: int) -> int | None:
        """Page on which the character at `offset` of the live document `uri` stands."""
        number, _ = self._live(uri)
        ((marks,),) = self._rows("SELECT marks FROM documents WHERE id = ?", (number,))
        for mark in json.loads(zlib.decompress(marks)):
            if mark["kind"] == "page" and mark["start"] <= offset < mark["end"]:
                return int(mark["value"])
        return None

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
        text = "".join(zlib.decompress(block).decode() for (block,) in blocks)
        return text[start - first * _BLOCK : end - first * _BLOCK]

    def documents(self) -> list[DocumentInfo]:
        """List the live documents, sorted by uri."""
        return [
            DocumentInfo(
                uri=uri, title=title, mime=mime, characters=length, chunks=chunks, written=written
            )
            for uri, title, mime, length, chunks, written in self._rows(
                "SELECT uri, title, mime, length, (SELECT count(*) FROM chunks"
                " WHERE document = documents.id), written FROM documents"
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
            chunks=self.live_chunk_count(),
            characters=characters,
            cached_embeddings=embeddings,
            failures=failures,
            unfinished=unfinished,
        )

    def matching(self, where: Where) -> list[int]:
        """Numbers of the live documents that `where` selects. Raises `QueryError`."""
        conditions: list[str] = []
        bound: list[Scalar] = []
        for field, wanted in where.items():
            condition, values = _condition(field, wanted)
            conditions.append(condition)
            bound += values
        filters = " AND ".join(["d.state = 'live'", *conditions])
        return [
            int(number)
            for (number,) in self._rows(f"SELECT d.id FROM documents d WHERE {filters}", bound)
        ]


_COLUMNS = {"uri": "d.uri", "title": "d.title", "mime": "d.mime"}


def _condition(field: str, wanted: Scalar | Sequence[Scalar]) -> tuple[str, list[Scalar]]:
    """SQL for one field of a filter, and the values it binds."""
    many = isinstance(wanted, list | tuple | set | frozenset)
    options: list[Any] = list(wanted) if many else [wanted]  # type: ignore[arg-type]
    if not isinstance(field, str) or not all(
        isinstance(option, bool | int | float | str) for option in options
    ):
        raise QueryError(f"a filter compares a field with scalars: {field!r} = {wanted!r}")
    if column := _COLUMNS.get(field):
        return f"{column} IN ({_slots(options)})", options
    texts: list[Scalar] = [o for o in options if isinstance(o, str)]
    truths: list[Scalar] = [str(o).lower() for o in options if isinstance(o, bool)]
    numbers: list[Scalar] = [
        o for o in options if isinstance(o, int | float) and o is not True and o is not False
    ]
    # json_each walks a list, and a scalar as a list of one; its types keep 1, '1', true apart.
    return (
        "EXISTS (SELECT 1 FROM json_each(d.metadata) f,"
        " json_each(CASE f.type WHEN 'array' THEN f.value ELSE json_array("
        "CASE f.type WHEN 'true' THEN json('true') WHEN 'false' THEN json('false')"
        " ELSE f.value END) END) v WHERE f.key = ? AND ("
        f"(v.type = 'text' AND v.value IN ({_slots(texts)}))"
        f" OR (v.type IN ('true', 'false') AND v.type IN ({_slots(truths)}))"
        f" OR (v.type IN ('integer', 'real') AND v.value IN ({_slots(numbers)}))))",
        [field, *texts, *truths, *numbers],
    )


def _slots(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for i in range(0, len(values), _MANY):
        yield values[i : i + _MANY]


def _compressed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)


def _marks(compressed: bytes) -> tuple[Mark, ...]:
    return tuple(Mark.model_validate(mark) for mark in json.loads(zlib.decompress(compressed)))
