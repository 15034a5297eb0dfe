"""The library: one SQLite file, the authority over what the index holds.

All SQL of the framework is in this module. A document is in one of four states:

* ``pending``: being written; invisible.
* ``live``: found by searches. At most one version of a uri is live.
* ``staged``: whole, and embedded with the embedder that is to take over; invisible until all
  are, and become live together.
* ``doomed``: superseded, deleted or left behind by a crash; invisible, and to be removed from
  the vectors and the lexical index before its rows go.

Rows of documents and chunks are numbered for good: a number is never used twice, so that what
is left in another store can never be taken for something newer.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rag.errors import DocumentNotFound, IndexDamaged, IndexNotFound, QueryError, RagIndexError
from rag.filters import All, AnyOf, Compare, Filter, Not, Where
from rag.index.places import has_stores
from rag.types import Chunk, Document, Mark, Place, Places, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")

SCHEMA_VERSION = "4"
_BLOCK = 1 << 12  # characters of a text compressed together: what reading any span costs
_PLACES = 16  # documents whose marks are kept at hand, as their citations come together
_MANY = 500  # values bound to one statement; SQLite's own limit is far above

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'staged', 'live', 'doomed')),
    digest TEXT NOT NULL,
    title TEXT NOT NULL,
    mime TEXT NOT NULL,
    metadata TEXT NOT NULL,
    marks BLOB NOT NULL,
    length INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    source_version TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    parser TEXT NOT NULL,
    chunker TEXT NOT NULL,
    parts INTEGER NOT NULL,
    origin TEXT NOT NULL,
    embedder TEXT NOT NULL,
    written REAL NOT NULL
);
CREATE UNIQUE INDEX documents_live ON documents (uri) WHERE state = 'live';
CREATE UNIQUE INDEX documents_staged ON documents (uri) WHERE state = 'staged';
CREATE INDEX documents_source ON documents (source) WHERE state = 'live';
CREATE INDEX documents_not_live ON documents (state) WHERE state != 'live';
CREATE TABLE blocks (
    document INTEGER NOT NULL REFERENCES documents (id),
    number INTEGER NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (document, number)
);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id),
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    place TEXT NOT NULL,
    headings TEXT NOT NULL,
    context TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    embedding INTEGER
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
    source TEXT NOT NULL,
    error TEXT NOT NULL,
    source_version TEXT NOT NULL,
    parser TEXT NOT NULL,
    seen REAL NOT NULL
);
CREATE INDEX failures_source ON failures (source);
"""


class Stretch(NamedTuple):
    """A chunk's row, its span in its document, and the headings it stands below."""

    row: int
    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """How a document came into the index: what must be unchanged for it to stay as it is.

    ``source`` is the uri of the source it is from, of which there may be several documents;
    ``digest`` is `Document.digest`, ``content_hash`` that of the source's bytes; ``parser`` and
    ``chunker`` are fingerprints; ``parts`` is how many documents and failures the source gave,
    and ``origin`` is the `Connector.origin` of what listed it first.
    """

    source: str
    source_version: str
    content_hash: str
    parser: str
    chunker: str
    digest: str
    parts: int = 1
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureEntry:
    """Why a source, or a part of one, could not be ingested when last tried.

    With a ``source_version``, that version of it fails with this ``parser`` whenever it is tried.
    """

    uri: str
    source: str
    error: str
    source_version: str = ""
    parser: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """What `Library.documents` lists of a document."""

    uri: str
    title: str
    mime: str
    characters: int
    chunks: int
    written: float


class State(NamedTuple):
    """Which state of the index searches find.

    ``generation`` grows with every change of it, ``derived`` is the number of the stores in use
    and ``embedder`` the note about the embedder that their vectors are from ("" before any).
    """

    generation: int
    derived: int
    embedder: str


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
    behind a lock, so that a batch being written does not hold searches up. With `read_only`
    nothing is written, not even beside the file. Raises `IndexNotFound` where there is no file
    and `create` is not set, `IndexDamaged` where it is not a library.
    """

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False) -> None:
        if not create and not path.is_file():
            raise IndexNotFound.at(path.parent)
        self.path = path
        self._read_only = read_only
        self._reading, self._writing = threading.RLock(), threading.RLock()
        self._own_writer: sqlite3.Connection | None = None
        self._places: dict[int, Places] = {}
        with self._damage_told():
            if create:
                self._refuse_emptied()
                self._create()
            self._reader = self._connect_reading()
            self._file = _identity(self.path)
        try:
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                raise IndexDamaged.library(self.path, "it is empty")
            found = self.meta("schema")
            if found != SCHEMA_VERSION:
                raise RagIndexError(
                    f"{self.path} has the format {found} of another version of citewell, this one "
                    f"reads {SCHEMA_VERSION}: ingest into a new index (--index DIR)"
                )
        except BaseException:
            self.close()
            raise

    # -- connections and transactions ------------------------------------------------------

    @property
    def _writer(self) -> sqlite3.Connection:
        """The connection that writes, opened when first used. Only behind its lock."""
        if self._own_writer is None:
            if self._read_only:
                raise RagIndexError(f"{self.path} was opened for reading only")
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
            self._own_writer = connection
        return self._own_writer

    def _refuse_emptied(self) -> None:
        """An empty file is one that is just made; not beside stores that were made from it."""
        begun = self.path.exists() and self.path.stat().st_size
        if not begun and has_stores(self.path.parent):
            raise IndexDamaged.library(self.path, "it is empty, or gone")

    def _connect_reading(self) -> sqlite3.Connection:
        """Open for reading; also in a folder that cannot be written to, as it is then."""
        modes = ["mode=rw"]  # with "ro" SQLite leaves its files for the log behind
        if not os.access(self.path.parent, os.W_OK):
            modes = ["mode=ro", "immutable=1"]
        for mode in modes:
            try:
                connection = sqlite3.connect(
                    f"{self.path.absolute().as_uri()}?{mode}",
                    uri=True,
                    timeout=30,
                    isolation_level=None,
                    check_same_thread=False,
                )
                connection.execute("PRAGMA cache_size = -131072")
                connection.execute("PRAGMA query_only = ON")
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()
                return connection
            except sqlite3.OperationalError:
                if mode == modes[-1]:
                    raise
        raise AssertionError("there is at least one mode")

    def _create(self) -> None:
        with self.transaction() as connection:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            self._set_meta("schema", SCHEMA_VERSION)
            self._set_meta("generation", "0")
            self._set_meta("derived", "1")
            self._set_meta("id", uuid.uuid4().hex[:16])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of what is inside, or nothing. Within another, it is part of that."""
        with self._writing, self._damage_told():
            if self._writer.in_transaction:
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk ends one by itself
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise RagIndexError(f"{self.path} was closed while in use") from error
        except sqlite3.OperationalError as error:
            if "is full" in str(error):
                raise RagIndexError.full(self.path) from error
            raise RagIndexError(f"cannot use {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged.library(self.path, error) from error

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading, self._damage_told():
                return self._reader.execute(sql, values).fetchall()
        except (OverflowError, UnicodeEncodeError) as error:
            raise QueryError(f"a value that cannot be looked up: {error}") from None

    def close(self) -> None:
        """Close the file, when what is being read and written is done."""
        with self._writing, self._reading:
            self._read_only = True  # nothing opens it again
            if self._own_writer is not None:
                self._own_writer.close()
            self._reader.close()

    # -- meta ------------------------------------------------------------------------------

    def is_there(self) -> bool:
        """Whether the file is still the one that was opened."""
        return self._file == _identity(self.path)

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Let several reads see the same state of the file."""
        with self._reading, self._damage_told():
            if self._reader.in_transaction:
                yield
                return
            self._reader.execute("BEGIN")
            try:
                yield
            finally:
                self._reader.execute("COMMIT")

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

    @property
    def state(self) -> State:
        """What searches find, read at one moment."""
        found = dict(
            self._rows(
                "SELECT key, value FROM meta WHERE key IN ('generation', 'derived', 'embedder')"
            )
        )
        return State(int(found["generation"]), int(found["derived"]), found.get("embedder", ""))

    def _next_generation(self) -> None:
        self._writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    def embedder_fingerprint(self) -> str:
        """Fingerprint of the embedder that the live vectors are from; "" before any."""
        note = self.state.embedder
        return str(json.loads(note)["fingerprint"]) if note else ""

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
                            json.dumps(chunk.place, ensure_ascii=False),
                            json.dumps(chunk.headings, ensure_ascii=False),
                            chunk.context,
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
                entry.origin,
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

    def unstage(self, embedder: str = "") -> int:
        """Give up what was staged with another embedder than this; returns how many documents."""
        with self.transaction():
            return self._writer.execute(
                "UPDATE documents SET state = 'doomed' WHERE state = 'staged' AND embedder != ?",
                (embedder,),
            ).rowcount

    def unstaged(self, after: int, limit: int) -> list[tuple[int, str]]:
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

    def switch(self, derived: int, embedder: str | None = None) -> None:
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

    def doomed(self, limit: int) -> list[int]:
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

    def remove_doomed(self) -> None:
        """Forget doomed documents of which no chunk is left."""
        with self.transaction():
            gone = (
                "SELECT id FROM documents WHERE state = 'doomed'"
                " AND NOT EXISTS (SELECT 1 FROM chunks WHERE document = documents.id)"
            )
            self._writer.execute(f"DELETE FROM blocks WHERE document IN ({gone})")
            self._writer.execute(f"DELETE FROM documents WHERE id IN ({gone})")

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

    def purge(self) -> None:
        """Forget all doomed documents: for a library without stores beside it."""
        with self.transaction() as connection:
            doomed = "SELECT id FROM documents WHERE state = 'doomed'"
            for table in ("chunks", "blocks"):
                connection.execute(f"DELETE FROM {table} WHERE document IN ({doomed})")
            connection.execute("DELETE FROM documents WHERE state = 'doomed'")

    def touch(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """Renew the ledger of live documents that turned out to be the same."""
        with self.transaction():
            for uri, entry in entries:
                self._writer.execute(
                    "UPDATE documents SET source = ?, source_version = ?, content_hash = ?,"
                    " parser = ?, chunker = ?, parts = ? WHERE uri = ? AND state = 'live'",
                    (
                        entry.source,
                        entry.source_version,
                        entry.content_hash,
                        entry.parser,
                        entry.chunker,
                        entry.parts,
                        uri,
                    ),
                )
                self._writer.execute("DELETE FROM failures WHERE uri = ?", (uri,))

    def record_failures(self, failures: Sequence[FailureEntry]) -> None:
        """Remember what could not be ingested."""
        now = time.time()
        with self.transaction():
            self._writer.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)",
                ((f.uri, f.source, f.error, f.source_version, f.parser, now) for f in failures),
            )

    # -- ledger and cache ------------------------------------------------------------------

    def ledger(self, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        """How the live versions of these uris were made; those that there are, by uri."""
        return self._ledger("uri", uris)

    def ledger_of(self, sources: Sequence[str]) -> dict[str, dict[str, LedgerEntry]]:
        """How the live documents of each of these sources were made: by source, then by uri."""
        found: dict[str, dict[str, LedgerEntry]] = {}
        for uri, entry in self._ledger("source", sources).items():
            found.setdefault(entry.source, {})[uri] = entry
        return found

    def _ledger(self, column: str, values: Sequence[str]) -> dict[str, LedgerEntry]:
        return {
            uri: LedgerEntry(
                source=source,
                source_version=version,
                content_hash=content,
                parser=parser,
                chunker=chunker,
                digest=digest,
                parts=parts,
                origin=origin,
            )
            for batch in _batches(values)
            for uri, source, version, content, parser, chunker, digest, parts, origin in self._rows(
                "SELECT uri, source, source_version, content_hash, parser, chunker, digest, parts,"
                f" origin FROM documents WHERE state = 'live' AND {column} IN ({_slots(batch)})"
                " ORDER BY id",
                batch,
            )
        }

    def uris(self, prefix: str = "") -> list[str]:
        """Uris of the live documents, or of those that begin with `prefix`, sorted."""
        return [uri for uri, _, _ in self.sources(prefix)]

    def sources(self, prefix: str = "") -> list[tuple[str, str, str]]:
        """(uri, source, origin) of the live documents whose uri begins with `prefix`, sorted."""
        return [
            (str(uri), str(source), str(origin))
            for uri, source, origin in self._rows(
                "SELECT uri, source, origin FROM documents WHERE state = 'live' AND uri >= ? AND"
                " substr(uri, 1, ?) = ? ORDER BY uri",
                (prefix, len(prefix), prefix),
            )
        ]

    def failures(self, prefix: str = "") -> list[FailureEntry]:
        """What could not be ingested when last tried, sorted by uri."""
        return self._failures("substr(uri, 1, ?) = ?", (len(prefix), prefix))

    def failures_of(self, sources: Sequence[str]) -> dict[str, list[FailureEntry]]:
        """What of each of these sources could not be ingested when last tried."""
        found: dict[str, list[FailureEntry]] = {}
        for batch in _batches(sources):
            for failure in self._failures(f"source IN ({_slots(batch)})", batch):
                found.setdefault(failure.source, []).append(failure)
        return found

    def _failures(self, condition: str, values: Sequence[Any]) -> list[FailureEntry]:
        return [
            FailureEntry(uri=uri, source=source, error=error, source_version=version, parser=parser)
            for uri, source, error, version, parser in self._rows(
                "SELECT uri, source, error, source_version, parser FROM failures"
                f" WHERE {condition} ORDER BY uri",
                values,
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

    def chunks(self, rows: Sequence[int], state: str = "live") -> dict[int, Chunk]:
        """Chunks of those of the `rows` that are live (or in `state`), with their text, by row."""
        with self._one_moment():
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
                    context=context,
                    place=json.loads(place),
                    metadata=json.loads(meta),
                )
        return found

    def stretch(self, state: str, after: int, limit: int) -> list[tuple[int, int]]:
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

    def outline(self, uri: str) -> list[Stretch]:
        """Chunks of the live document `uri`, in the order of its text; none where it is gone."""
        return [
            Stretch(row, start, end, tuple(json.loads(headings)))
            for row, start, end, headings in self._rows(
                'SELECT c.row, c.start, c."end", c.headings FROM chunks c'
                " JOIN documents d ON d.id = c.document"
                " WHERE d.uri = ? AND d.state = 'live' ORDER BY c.start, c.\"end\"",
                (uri,),
            )
        ]

    def document(self, uri: str) -> Document:
        """Return the live document `uri`. Raises `DocumentNotFound`."""
        with self._one_moment():
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
        with self._one_moment():
            number, length = self._live(uri)
            return self._text(number, max(0, start), min(end, length))

    def place(self, uri: str, offset: int) -> Place:
        """Where the character at `offset` of the live document `uri` stands."""
        with self._one_moment():
            number, _ = self._live(uri)
            places = self._places.get(number)
            if places is None:
                ((marks,),) = self._rows("SELECT marks FROM documents WHERE id = ?", (number,))
                places = Places(self._marks(marks))
                self._places = dict([*list(self._places.items())[-_PLACES:], (number, places)])
        return places.at(offset)

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

    def _broken(self, error: Exception) -> IndexDamaged:
        return IndexDamaged(
            f"{self.path} holds something that cannot be read back ({error}): `rag index repair`"
        )

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

    def matching(self, where: Where) -> dict[int, int]:
        """Numbers of the live documents that `where` selects, with their numbers of chunks.

        Raises `QueryError`.
        """
        condition, bound = _condition(Filter.of(where))
        sql = f"SELECT d.id, d.chunks FROM documents d WHERE d.state = 'live' AND {condition}"
        return dict(self._rows(sql, bound))

    # -- care ------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """What SQLite finds wrong with the file itself; it reads all of it."""
        found = [str(said) for (said,) in self._rows("PRAGMA integrity_check(20)")]
        if broken := self._rows("PRAGMA foreign_key_check"):
            found.append(f"{len(broken):,} rows belong to a document that is not there")
        return [said for said in found if said != "ok"]

    def snapshot(self, path: Path) -> None:
        """Copy the library, as it is at one moment, into the new file `path`.

        Others may read and write meanwhile. The copy is complete, or not there at all.
        """
        with closing(self._connect_reading()) as source, self._damage_told():
            _copied(source, path)

    def adopt(self, path: Path) -> None:
        """Take over the whole content of the library in the file `path`, in one transaction."""
        with self._writing, self._damage_told(), closing(sqlite3.connect(path)) as source:
            source.backup(self._writer)

    def succeed(self, other: State, derived: int, sequence: Mapping[str, int]) -> None:
        """Become the state after `other`, with the stores `derived`; `sequence` is kept up."""
        with self.transaction() as connection:
            self._set_meta("generation", str(max(other.generation, self.generation) + 1))
            self._set_meta("derived", str(derived))
            for table, number in sequence.items():
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table)
                )

    def sequence(self) -> dict[str, int]:
        """The highest number ever given to a row, by table."""
        return dict(self._rows("SELECT name, seq FROM sqlite_sequence"))

    def forget_unused_embeddings(self) -> int:
        """Drop the embeddings of texts that no chunk has any more; returns how many."""
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM embeddings WHERE number NOT IN"
                " (SELECT embedding FROM chunks WHERE embedding IS NOT NULL)"
            ).rowcount

    def vacuum(self) -> None:
        """Give the space of what is gone back to the file system."""
        with self._writing, self._damage_told():
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_COLUMNS = {"uri": "d.uri", "title": "d.title", "mime": "d.mime"}


def _condition(where: Filter) -> tuple[str, list[Scalar]]:
    """SQL that means the same as `Filter.matches`, and the values it binds."""
    if isinstance(where, All | AnyOf):
        word, empty = (" AND ", "1") if isinstance(where, All) else (" OR ", "0")
        parts = [_condition(part) for part in where.conditions]
        sql = _balanced([part for part, _ in parts], word) if parts else empty
        return sql, [value for _, values in parts for value in values]
    if isinstance(where, Not):
        sql, values = _condition(where.condition)
        return f"NOT {sql}", values
    if not isinstance(where, Compare):
        raise QueryError(f"not a filter: {where!r}")
    if column := _COLUMNS.get(where.field):
        test, values = _test(where, "'text'", column)
        return f"({test})", values
    if where.op == "exists":
        return "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE f.key = ?)", [where.field]
    # The types of json_each keep 1, '1' and true apart. A list is walked, a scalar taken as it is:
    # written as a list of one it would lose digits.
    one, values = _test(where, "f.type", "f.value")
    any_of, again = _test(where, "v.type", "v.value")
    return (
        "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE f.key = ? AND CASE f.type"
        f" WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(f.value) v WHERE {any_of})"
        f" ELSE ({one}) END)",
        [where.field, *again, *values],
    )


def _balanced(parts: Sequence[str], word: str) -> str:
    """Join conditions as a tree of few levels: SQLite refuses a thousand in a row."""
    if len(parts) < 3:
        return f"({word.join(parts)})"
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], word)}{word}{_balanced(parts[middle:], word)})"


def _test(where: Compare, kind: str, value: str) -> tuple[str, list[Scalar]]:
    """SQL that compares one `value` of the JSON type `kind`."""
    text, number = f"{kind} = 'text'", f"{kind} IN ('integer', 'real')"
    if where.op == "exists":
        return "1", []
    if isinstance(where.value, tuple):
        texts = [o for o in where.value if isinstance(o, str)]
        truths = [str(o).lower() for o in where.value if isinstance(o, bool)]
        numbers = [o for o in where.value if not isinstance(o, str | bool)]
        return (
            f"({text} AND {value} IN (SELECT value FROM json_each(?)))"
            f" OR ({kind} IN ('true', 'false') AND {kind} IN (SELECT value FROM json_each(?)))"
            f" OR ({number} AND {value} IN (SELECT value FROM json_each(?)))",
            [json.dumps(texts, ensure_ascii=False), json.dumps(truths), json.dumps(numbers)],
        )
    if where.op == "startswith":
        return f"{text} AND instr({value}, ?) = 1", [where.value]
    if where.op == "contains":
        return f"{text} AND instr({value}, ?) > 0", [where.value]
    same = text if isinstance(where.value, str) else number
    return f"{same} AND {value} {where.op} ?", [where.value]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _copied(source: sqlite3.Connection, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with suppress(FileNotFoundError):
        partial.unlink()
    try:
        with closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _slots(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for i in range(0, len(values), _MANY):
        yield values[i : i + _MANY]


def _compressed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)
