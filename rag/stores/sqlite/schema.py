"""The SQLite schema of the document store, and the names of its files and folders on disk.

A document is in one of four states:

* ``pending``: an ingest is writing it. Searches do not see it.
* ``live``: searches find it. At most one version of a uri is live.
* ``staged``: it is complete, and embedded with the embedder of a re-embedding. Searches do not
  see it until all staged documents become live together.
* ``doomed``: it is deleted: a newer version replaced it, it was deleted on request, or a crash
  left it incomplete. Searches do not see it. Its chunks are removed from the vector store and the
  lexical index before its rows are deleted.

Row numbers of documents and chunks are never reused, so a row left in another store can never be
mistaken for a newer one.

The on-disk names of version 0.1 are kept, so that existing indexes stay readable: the file
``library.sqlite``, the folder ``derived``, the state ``doomed``, the meta keys, and the tables and
columns. Some differ from the names in the code: column ``place`` holds the source location,
``context`` the heading context, ``origin`` the owner id, and the meta key ``derived`` the number
of the store set in use.
"""

from __future__ import annotations

SCHEMA_VERSION = "4"

STORE_SETS_FOLDER = "derived"
SNAPSHOTS_FOLDER = "snapshots"

TEXT_BLOCK_CHARACTERS = 1 << 12
"""Characters of a document's text in one compressed block: the cost of reading any span."""

SCHEMA = """
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
