"""The document store in SQLite: the authority over what the index holds."""

from rag.stores.sqlite.connection import State
from rag.stores.sqlite.document_reader import DocumentInfo, Stats, Stretch
from rag.stores.sqlite.ledger import FailureEntry, LedgerEntry
from rag.stores.sqlite.schema import SCHEMA_VERSION
from rag.stores.sqlite.store import Library

__all__ = [
    "SCHEMA_VERSION",
    "DocumentInfo",
    "FailureEntry",
    "LedgerEntry",
    "Library",
    "State",
    "Stats",
    "Stretch",
]
