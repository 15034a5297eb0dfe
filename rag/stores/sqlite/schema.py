"""The SQLite schema of the document store, and the names of its files and folders on disk.

The folder of the store sets is named ``derived``, as in version 0.1. `rag.stores.sqlite.migrations`
converts files of earlier versions.
"""

from __future__ import annotations

SCHEMA_VERSION = "7"

STORE_SETS_FOLDER = "derived"
SNAPSHOTS_FOLDER = "snapshots"

TEXT_BLOCK_CHARACTERS = 1 << 12
"""Characters of a document's text in one compressed block: the cost of reading any span."""

DOCUMENTS_TABLE = """CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'staged', 'live', 'deleted')),
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
    owner_id TEXT NOT NULL,
    embedder TEXT NOT NULL,
    written REAL NOT NULL,
    identity TEXT NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX documents_live ON documents (uri) WHERE state = 'live';
CREATE UNIQUE INDEX documents_staged ON documents (uri) WHERE state = 'staged';
CREATE INDEX documents_source ON documents (source) WHERE state = 'live';
CREATE INDEX documents_not_live ON documents (state) WHERE state != 'live';
"""

IDENTITY_KEYS_TABLE = """CREATE TABLE identity_keys (
    key TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id),
    weight REAL NOT NULL,
    PRIMARY KEY (key, document)
) WITHOUT ROWID;
CREATE INDEX identity_keys_document ON identity_keys (document);
"""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
{DOCUMENTS_TABLE}CREATE TABLE blocks (
    document INTEGER NOT NULL REFERENCES documents (id),
    number INTEGER NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (document, number)
);
{IDENTITY_KEYS_TABLE}CREATE TABLE chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id),
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    location TEXT NOT NULL,
    headings TEXT NOT NULL,
    heading_context TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    embedding INTEGER,
    marks TEXT NOT NULL DEFAULT '[]'
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
