"""The document store in one SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.stores.sqlite.document_reader import DocumentReader
from rag.stores.sqlite.document_writer import DocumentWriter
from rag.stores.sqlite.ledger import Ledger
from rag.stores.sqlite.snapshots import Snapshots

if TYPE_CHECKING:
    pass


class SqliteDocumentStore(DocumentWriter, DocumentReader, Ledger, Snapshots):
    """Documents, chunks, ledger, embedding cache and failures in one SQLite file.

    May be shared by threads: reads go through one connection and writes through another, each
    behind a lock, so that a batch being written does not hold searches up. With `read_only`
    nothing is written, not even beside the file. Raises `IndexNotFound` where there is no file
    and `create` is not set, `IndexDamaged` where it is not a library.
    """
