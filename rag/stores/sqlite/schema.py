"""The SQLite schema of the document store.

A document is in one of four states:

* ``pending``: it is being written. Searches do not see it.
* ``live``: searches find it. At most one version of a uri is live.
* ``staged``: it is complete, and embedded with the embedder that will take over. Searches do not
  see it until all staged documents become live together.
* ``doomed``: it was replaced, deleted, or left behind by a crash. Searches do not see it. Its
  chunks are removed from the vector store and the lexical index before its rows are deleted.

Row numbers of documents and chunks are never reused, so a row left in another store can never be
mistaken for a newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


SCHEMA_VERSION = "4"


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
