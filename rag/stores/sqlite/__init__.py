"""The document store in SQLite. The vector store and the lexical index are built from it."""

from rag.stores.sqlite.schema import SCHEMA_VERSION
from rag.stores.sqlite.store import DOCUMENT_STORE_FILE, Sqlite, SqliteDocumentStore

__all__ = ["DOCUMENT_STORE_FILE", "SCHEMA_VERSION", "Sqlite", "SqliteDocumentStore"]
