"""The document store in one SQLite file."""

from __future__ import annotations

from rag.stores.sqlite.document_reader import DocumentReader
from rag.stores.sqlite.document_writer import DocumentWriter
from rag.stores.sqlite.file_maintenance import FileMaintenance
from rag.stores.sqlite.ledger import Ledger


class SqliteDocumentStore(DocumentWriter, DocumentReader, Ledger, FileMaintenance):
    """Documents, chunks, ledger, embedding cache and failures in one SQLite file.

    Threads may share it: reads use one connection and writes another, each with its own lock, so
    a batch that is being written does not delay searches. With `read_only`, nothing is written,
    not even SQLite's own files next to the database. Raises `IndexNotFound` if the file does not
    exist and `create` is not set, `IndexDamaged` if it is not a document store.
    """
