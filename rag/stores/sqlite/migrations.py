"""Migrations of the SQLite schema: files of earlier versions are converted when they are opened."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from rag.errors import RagIndexError
from rag.stores.sqlite.schema import SCHEMA_VERSION
from rag.text.name_keys import list_document_keys


def migrate_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Convert the file to the current schema: all steps in one transaction, or none.

    `connection` must be in autocommit mode, with foreign keys off. Raises `RagIndexError` for a
    version that is newer or unknown.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        while (version := _read_version(connection)) != SCHEMA_VERSION:
            if version not in _MIGRATIONS:
                raise RagIndexError(
                    f"{path} has format {version} of another version of citewell; this version "
                    f"reads {', '.join([*_MIGRATIONS, SCHEMA_VERSION])}: use that version, or "
                    "ingest into a new index (--index DIR)",
                    path=path,
                )
            _MIGRATIONS[version](connection)
        if orphans := connection.execute("PRAGMA foreign_key_check").fetchall():
            raise sqlite3.DatabaseError(f"{len(orphans):,} rows belong to no document")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read_version(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return str(row[0]) if row else "none"


def _migrate_4_to_5(connection: sqlite3.Connection) -> None:
    """Give states and columns the names that the code uses.

    The table of documents is copied, because its check of the states cannot be altered. Chunks,
    texts and embeddings stay where they are.
    """
    connection.execute("ALTER TABLE chunks RENAME COLUMN place TO location")
    connection.execute("ALTER TABLE chunks RENAME COLUMN context TO heading_context")
    connection.execute("UPDATE meta SET key = 'store_set' WHERE key = 'derived'")
    (last_number,) = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'documents'"
    ).fetchone()
    columns = [row[1] for row in connection.execute("PRAGMA table_info(documents)")]
    connection.execute(f"CREATE TEMP TABLE earlier AS SELECT {', '.join(columns)} FROM documents")
    connection.execute("UPDATE temp.earlier SET state = 'deleted' WHERE state = 'doomed'")
    connection.execute("DROP TABLE documents")
    for statement in _DOCUMENTS_TABLE_5.split(";\n"):
        connection.execute(statement)
    connection.execute(f"INSERT INTO documents SELECT {', '.join(columns)} FROM temp.earlier")
    connection.execute("DROP TABLE temp.earlier")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'documents'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('documents', ?)", (last_number,))
    connection.execute("UPDATE meta SET value = '5' WHERE key = 'schema'")


_DOCUMENTS_TABLE_5 = """CREATE TABLE documents (
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
    written REAL NOT NULL
);
CREATE UNIQUE INDEX documents_live ON documents (uri) WHERE state = 'live';
CREATE UNIQUE INDEX documents_staged ON documents (uri) WHERE state = 'staged';
CREATE INDEX documents_source ON documents (source) WHERE state = 'live';
CREATE INDEX documents_not_live ON documents (state) WHERE state != 'live';
"""


def _migrate_5_to_6(connection: sqlite3.Connection) -> None:
    """Add the structure of chunks and the identity of documents; the next ingest fills them in."""
    connection.execute("ALTER TABLE documents ADD COLUMN identity TEXT NOT NULL DEFAULT '{}'")
    connection.execute("ALTER TABLE chunks ADD COLUMN marks TEXT NOT NULL DEFAULT '[]'")
    connection.execute("UPDATE meta SET value = '6' WHERE key = 'schema'")


def _migrate_6_to_7(connection: sqlite3.Connection) -> None:
    """Add the keys of the identity terms."""
    for statement in _IDENTITY_KEYS_TABLE_7.split(";\n"):
        connection.execute(statement)
    for number, identity in connection.execute("SELECT id, identity FROM documents").fetchall():
        connection.executemany(
            "INSERT INTO identity_keys VALUES (?, ?, ?)",
            [(key, number, w) for key, w in list_document_keys(json.loads(identity)).items()],
        )
    connection.execute("UPDATE meta SET value = '7' WHERE key = 'schema'")


_IDENTITY_KEYS_TABLE_7 = """CREATE TABLE identity_keys (
    key TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id),
    weight REAL NOT NULL,
    PRIMARY KEY (key, document)
) WITHOUT ROWID;
CREATE INDEX identity_keys_document ON identity_keys (document)"""


_MIGRATIONS: Mapping[str, Callable[[sqlite3.Connection], None]] = {
    "4": _migrate_4_to_5,
    "5": _migrate_5_to_6,
    "6": _migrate_6_to_7,
}
"""The step from each earlier version to the next one."""
