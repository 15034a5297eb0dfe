"""The document store in SQLite. The vector store and the lexical index are built from it."""

from rag.stores.sqlite.connection import IndexState
from rag.stores.sqlite.document_reader import ChunkSpan, DocumentInfo, Stats
from rag.stores.sqlite.ledger import FailureEntry, LedgerEntry
from rag.stores.sqlite.schema import SCHEMA_VERSION
from rag.stores.sqlite.store import SqliteDocumentStore

__all__ = [
    "SCHEMA_VERSION",
    "ChunkSpan",
    "DocumentInfo",
    "FailureEntry",
    "IndexState",
    "LedgerEntry",
    "SqliteDocumentStore",
    "Stats",
]
